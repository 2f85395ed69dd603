//! The pages of reference, made from the tables that the code works with: keys of the
//! configuration, measurements, metrics. `make reference` writes them into `docs`.

mod measurements;
mod pages;

pub use measurements::{MEASUREMENTS, Measurement};
pub use pages::{configuration, measurements};

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    /// A family shows on `/metrics` only when it has a member: the page has to give it one.
    #[test]
    fn every_metric_that_the_code_names_is_on_the_page() {
        let page = super::measurements().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = std::fs::read_dir(source.join("metrics")).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.push(source.join("metrics.rs"));
        let mut seen = 0;
        for path in paths {
            let text = std::fs::read_to_string(path).unwrap();
            let quoted = text.split('"').skip(1).step_by(2);
            for name in quoted.filter(|text| text.starts_with("rabtrace_") && !text.contains('{')) {
                assert!(page.contains(&format!("| `{name}` |")), "{name}");
                seen += 1;
            }
        }
        assert!(seen > 25, "{seen} names were found");
    }

    /// `make reference` mends it.
    #[test]
    fn the_pages_are_what_the_code_says() {
        expect_file!["../../docs/configuration.md"].assert_eq(&super::configuration());
        expect_file!["../../docs/measurements.md"].assert_eq(&super::measurements().unwrap());
    }
}
