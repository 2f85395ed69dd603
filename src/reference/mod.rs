//! The pages of reference, made from the tables that the code works with: keys of the
//! configuration, measurements, metrics. `make reference` writes them into `docs`.

mod measurements;
mod pages;

pub use measurements::{MEASUREMENTS, Measurement};
pub use pages::{configuration, measurements};

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    /// `make reference` mends it.
    #[test]
    fn the_pages_are_what_the_code_says() {
        expect_file!["../../docs/configuration.md"].assert_eq(&super::configuration());
        expect_file!["../../docs/measurements.md"].assert_eq(&super::measurements().unwrap());
    }
}
