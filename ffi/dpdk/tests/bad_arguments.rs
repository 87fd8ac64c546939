//! EAL arguments that EAL refuses are reported with its words, and nothing is printed.

use dpdk::{Eal, EalConfig};

#[test]
fn an_unknown_argument_is_named() {
    let config = EalConfig {
        memory: Some(64),
        no_huge: true,
        file_prefix: format!("sluicebad{}", std::process::id()),
        extra: vec!["--no-such-option".into()],
    };
    let said = Eal::start(&config).unwrap_err().to_string();
    assert!(said.starts_with("DPDK does not start: "), "{said}");
    assert!(said.contains("--no-such-option"), "{said}");
    assert!(!said.contains('\n'), "one line: {said}");
    assert!(Eal::running().is_err());
    let _ = std::fs::remove_dir_all(format!("/run/dpdk/{}", config.file_prefix));
}
