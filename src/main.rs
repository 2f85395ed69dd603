//! The agent.
fn main() {
    print!("{}", rabtrace::config::example_toml());
}
