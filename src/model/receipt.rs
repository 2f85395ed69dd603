//! The promise that something was stored, from who stores it back to who took it in.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Held, Point, Share};

/// Travels with what is to be stored. Dropping every clone of it without [`Receipt::confirm`]
/// says that it was not stored.
#[derive(Clone, Debug)]
pub struct Receipt(mpsc::Sender<()>);

/// Waits for the receipt.
#[derive(Debug)]
pub struct Pending {
    receipt: mpsc::Receiver<()>,
    known: Option<bool>,
}

impl Receipt {
    /// A receipt, and who waits for it.
    ///
    /// ```
    /// use rabtrace::model::Receipt;
    ///
    /// let (receipt, pending) = Receipt::pair();
    /// receipt.confirm();
    /// # drop(pending);
    /// ```
    #[must_use]
    pub fn pair() -> (Self, Pending) {
        let (sender, receiver) = mpsc::channel(1);
        let pending = Pending {
            receipt: receiver,
            known: None,
        };
        (Self(sender), pending)
    }

    /// Says that it is stored.
    pub fn confirm(&self) {
        // Nobody waits any more, or it was said already: both are fine.
        let _ = self.0.try_send(());
    }
}

impl Pending {
    /// Whether it was stored: waits until that is known. Who gives up may ask again.
    pub async fn stored(&mut self) -> bool {
        if let Some(known) = self.known {
            return known;
        }
        let stored = self.receipt.recv().await.is_some();
        self.known = Some(stored);
        stored
    }
}

/// Points on their way to InfluxDB.
#[derive(Debug, Default)]
pub struct PointBatch {
    /// The points.
    pub points: Vec<Point>,
    /// To be confirmed when they are in the spool; none if nobody waits for that.
    pub receipt: Option<Receipt>,
    /// That it waits for the spool.
    pub share: Option<Share>,
    /// The room of the request that they were made of, as long as they wait.
    pub held: Option<Arc<Held>>,
}
