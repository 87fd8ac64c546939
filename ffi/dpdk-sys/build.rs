//! Finds DPDK by pkg-config, compiles the shim and generates bindings.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest release with the names that the shim uses.
const OLDEST: &str = "22.11";
/// What is bound directly: real functions with scalar arguments. All else goes through the shim.
const FUNCTIONS: &str = "dp_.*|rte_eal_(init|get_runtime_dir)|rte_strerror\
    |rte_thread_(register|unregister)|rte_get_tsc_hz|rte_version|rte_log_set_global_level\
    |rte_pktmbuf_pool_create|rte_pktmbuf_free_bulk|rte_mempool_(avail_count|in_use_count|free)\
    |rte_eth_dev_(start|stop|set_mtu|get_mtu|set_link_up|set_link_down|is_valid_port)\
    |rte_eth_(promiscuous_enable|allmulticast_enable|stats_reset)";
const CONSTANTS: &str = "DP_.*|RTE_(MAX_LCORE|PKTMBUF_HEADROOM|LOG_(ERR|WARNING|NOTICE|INFO))";

fn main() {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    let dpdk = pkg_config::Config::new()
        .atleast_version(OLDEST)
        .cargo_metadata(false)
        .probe("libdpdk")
        .unwrap_or_else(|error| {
            panic!(
                "DPDK {OLDEST} or later is needed (Debian: apt-get install libdpdk-dev): {error}"
            )
        });
    let flags = raw_flags();
    compile_shim(&flags);
    generate_bindings(&flags);
    for dir in &dpdk.link_paths {
        println!("cargo::rustc-link-search=native={}", dir.display());
    }
    // The linker keeps those it needs; drivers are plugins that EAL loads by itself.
    for library in [
        "rte_eal",
        "rte_mempool",
        "rte_mbuf",
        "rte_ethdev",
        "rte_log",
    ] {
        if dpdk.libs.iter().any(|l| l == library) {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
}

/// The compiler flags as pkg-config gives them: the crate drops `-include` and `-march`.
fn raw_flags() -> Vec<String> {
    let tool = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(tool)
        .args(["--cflags", "libdpdk"])
        .output()
        .unwrap_or_else(|error| panic!("cannot run pkg-config: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().map(str::to_owned).collect()
}

fn compile_shim(flags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").std("gnu11").warnings(true);
    for flag in flags {
        build.flag(flag);
    }
    build.compile("sluice_dpdk_shim");
}

fn generate_bindings(flags: &[String]) {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let result = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(flags)
        .allowlist_function(FUNCTIONS)
        .allowlist_var(CONSTANTS)
        .blocklist_type("rte_.*|RTE_.*") // src/lib.rs has the two that are passed around
        // Thread-local in C; bound as a plain static they crash when read.
        .blocklist_item("per_lcore_.*")
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .use_core()
        .generate();
    match result {
        Ok(bindings) => write(&out.join("bindings.rs"), &bindings),
        Err(error) => panic!("bindgen on shim/shim.h (is libclang-dev installed?): {error}"),
    }
}

fn write(path: &Path, bindings: &bindgen::Bindings) {
    if let Err(error) = bindings.write_to_file(path) {
        panic!("cannot write {}: {error}", path.display());
    }
}
