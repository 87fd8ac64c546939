//! The generated cases as files, for `scripts/conformance/policies.py`, which sends the same packets
//! through the real programs.

use std::path::Path;

use super::*;

/// Writes the cases to the folder that `SLUICE_CASES_TO` names: `SLUICE_CASES=all`, or so many.
#[test]
#[ignore = "writes files for scripts/conformance/policies.py"]
fn cases_are_written() {
    let folder = std::env::var("SLUICE_CASES_TO").expect("SLUICE_CASES_TO names a folder");
    let wanted = std::env::var("SLUICE_CASES").unwrap_or_else(|_| "8".into());
    let count = match wanted.as_str() {
        "all" => CASES,
        number => number.parse().expect("SLUICE_CASES is a number, or all"),
    };
    for number in 0..count {
        // Spread over all of them, so that a few are not alike.
        let seed = number * CASES / count;
        let file = Path::new(&folder).join(format!("case-{seed:03}.json"));
        std::fs::write(file, case(seed).to_string()).unwrap();
    }
}

fn case(seed: u64) -> Value {
    let manifests = generate::cluster(seed);
    let bed = Bed::new(&manifests);
    let spec = Spec::new(&manifests);
    let all: Vec<u16> = generate::ports().collect();
    let at = |n: u64| all[(seed + n) as usize % all.len()];
    let parties = parties(&bed);
    let mut tries = Vec::new();
    let mut source = 20_000u16;
    for from in &parties {
        for to in &parties {
            if !connected(&bed, from.1, to.1) || from.0.is_none() && to.0.is_none() {
                continue;
            }
            for protocol in PROTOCOLS {
                for port in [at(0), at(3)] {
                    source += 1;
                    let party = |of: &'_ (Option<String>, IpAddr)| (of.0.clone(), of.1);
                    let ((a, a_ip), (b, b_ip)) = (party(from), party(to));
                    let says = spec.allows(&Question {
                        from: Party {
                            pod: a.as_deref(),
                            ip: a_ip,
                        },
                        to: Party {
                            pod: b.as_deref(),
                            ip: b_ip,
                        },
                        protocol: protocol.0,
                        port,
                    });
                    let there = frame(&bed, from, to, protocol.1, (source, port), false);
                    let back = frame(&bed, to, from, protocol.1, (port, source), true);
                    tries.push(json!({
                        "from": a, "to": b, "protocol": protocol.0, "port": port, "source": source,
                        "there": hex(&there), "back": hex(&back), "allowed": says,
                        "addresses": [a_ip.to_string(), b_ip.to_string()],
                    }));
                }
            }
        }
    }
    let pods = bed.desired.pods.values().map(|pod| {
        let place = json!({"node": pod.node, "port": pod.port});
        (pod.name.to_string(), place)
    });
    let pods: serde_json::Map<_, _> = pods.collect();
    json!({"seed": seed, "manifests": manifests, "pods": pods, "tries": tries})
}

fn frame(
    bed: &Bed,
    from: &(Option<String>, IpAddr),
    to: &(Option<String>, IpAddr),
    protocol: u8,
    ports: (u16, u16),
    answer: bool,
) -> Vec<u8> {
    let mac = |pod: &str| bed.pod(pod).mac.0;
    let own = from.0.as_deref().map_or(OUTSIDE, mac);
    let next = match (&from.0, &to.0) {
        (Some(pod), _) => bed.next_hop(pod, to.1),
        (None, to) => to.as_deref().map_or(OUTSIDE, mac),
    };
    let end = |mac, ip, port| End { mac, ip, port };
    packet(
        protocol,
        end(own, from.1, ports.0),
        end(next, to.1, ports.1),
        answer,
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
