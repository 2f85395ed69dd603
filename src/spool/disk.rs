//! What a spool asks of a disk: so little that a simulated one can stand in, and lose its power.

use std::io::Result;

/// A folder of files. Nothing in it is durable before it is synced.
pub trait Disk: Send + 'static {
    /// The names of its files.
    ///
    /// # Errors
    /// If the folder cannot be read.
    fn list(&self) -> Result<Vec<String>>;

    /// Makes a file that must not be there yet. Its name is durable after [`Disk::sync`].
    ///
    /// # Errors
    /// If the file is there, or cannot be made.
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// If the file is not there, or cannot be opened.
    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// If the file is not there, or cannot be removed.
    fn remove(&self, name: &str) -> Result<()>;

    /// Makes durable which files there are.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync(&self) -> Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// If the disk fails.
    fn size(&self) -> Result<u64>;

    /// Reads into `buffer` what is at `offset`, and says how many bytes that are; none at the end.
    ///
    /// # Errors
    /// If the disk fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `bytes` at `offset`, or fails with any part of it written.
    ///
    /// # Errors
    /// If the disk fails or is full.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Cuts or lengthens the file.
    ///
    /// # Errors
    /// If the disk fails or is full.
    fn set_size(&mut self, size: u64) -> Result<()>;

    /// Makes its content and its length durable.
    ///
    /// # Errors
    /// If the disk fails. What was written since the last success may then be lost for good.
    fn sync(&mut self) -> Result<()>;
}
