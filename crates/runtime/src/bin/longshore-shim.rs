//! The shim by itself, for tests and benchmarks of the embedded runtime: `longshore` is the program that users run.

use longshore_runtime::oci::{init_main, shim_main};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == "shim" => shim_main(arguments),
        Some(word) if word == "init" => init_main(arguments),
        _ => {
            eprintln!("usage: longshore-shim shim … | init …");
            std::process::exit(2);
        }
    }
}
