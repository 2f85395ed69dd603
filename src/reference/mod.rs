//! The pages of reference, made from the tables that the code works with: keys of the
//! configuration, measurements, metrics. `make reference` writes them into `docs`.

mod measurements;
mod pages;

pub use measurements::{MEASUREMENTS, Measurement};
pub use pages::{configuration, measurements};

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use crate::config;
    use crate::metrics::Loss;

    #[test]
    fn keys_that_mend_a_loss_are_keys() {
        let mut seen = 0;
        for loss in Loss::ALL {
            let quoted = loss.fix().split('`').skip(1).step_by(2);
            let is_key = |text: &&str| text.contains('.') && !text.ends_with(".ndjson");
            for key in quoted.filter(is_key).filter(|text| !text.ends_with(".*")) {
                assert!(config::reference().any(|known| known.path == key), "{key}");
                seen += 1;
            }
        }
        assert!(seen > 5, "{seen} keys were found");
    }

    /// `make reference` mends it.
    #[test]
    fn the_pages_are_what_the_code_says() {
        expect_file!["../../docs/configuration.md"].assert_eq(&super::configuration());
        expect_file!["../../docs/measurements.md"].assert_eq(&super::measurements().unwrap());
    }
}
