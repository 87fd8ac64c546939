//! Annotations to limits. Bandwidth has Kube-OVN's units and directions: `ingress` is to the pod,
//! `egress` from it; rates are Mbit/s, bursts Mbit, 1 Mbit = 1,000,000 bits. Packets are packets.

mod bandwidth;
mod netem;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::annotations::{self, Annotation};
use crate::desired::{Connections, Limits, PacketRate, Priority, Qos, Rate};
use crate::name::ObjectRef;
use crate::problem::Problem;
use crate::view::Meta;

/// 1,000 bits in a Mbit.
const KBIT: u32 = 1000;

/// Most connections of a pod: more than any table of them holds.
const CONNECTIONS: u32 = 1_000_000_000;

/// The largest value whose kbit fit in the 32 bits of a meter band.
const MAX: u32 = u32::MAX / KBIT;

/// Where an annotation is looked for: Kube-OVN's prefixes, or ours.
type Lookup = for<'a> fn(&'a Meta, &str) -> Option<Annotation<'a>>;

/// Reads the limits of a pod. A value that cannot be read is reported and leaves that direction
/// without the limit.
pub(crate) fn read(object: &ObjectRef, meta: &Meta, problems: &mut Vec<Problem>) -> Qos {
    let mut read = Reader {
        object,
        meta,
        problems,
    };
    Qos {
        ingress: read.either("ingress_rate", "ingress_burst", "ingress-bandwidth"),
        egress: read.either("egress_rate", "egress_burst", "egress-bandwidth"),
        ingress_packets: read.packets("ingress_packet_rate", "ingress_packet_burst"),
        egress_packets: read.packets("egress_packet_rate", "egress_packet_burst"),
        connections: read.connections(),
        impairment: read.impairment(),
        priority: read.priority(),
        dscp: read.dscp(),
    }
}

/// Reads what the pods of a namespace share on each node; `None`: nothing.
pub(crate) fn of_namespace(
    object: &ObjectRef,
    meta: &Meta,
    problems: &mut Vec<Problem>,
) -> Option<Limits> {
    let mut read = Reader {
        object,
        meta,
        problems,
    };
    let limits = Limits {
        ingress: read.rate(annotations::ours, "ingress_rate", "ingress_burst"),
        egress: read.rate(annotations::ours, "egress_rate", "egress_burst"),
    };
    (limits != Limits::default()).then_some(limits)
}

struct Reader<'a> {
    object: &'a ObjectRef,
    meta: &'a Meta,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Kube-OVN's rate, or Kubernetes' own where that is not there.
    fn either(&mut self, rate: &str, burst: &str, bandwidth: &str) -> Option<Rate> {
        let theirs = annotations::kubernetes(self.meta, bandwidth);
        let kbps = self.bandwidth(bandwidth);
        if annotations::kube_ovn(self.meta, rate).is_none()
            && let Some(kbps) = kbps
        {
            let burst = self.number(annotations::kube_ovn, burst, "Mbit", MAX);
            return Some(Rate {
                kbps,
                burst_kbit: burst.map_or(four_fifths(kbps), |burst| burst * KBIT),
            });
        }
        let found = self.rate(annotations::kube_ovn, rate, burst);
        if let Some(theirs) = theirs
            && kbps.is_some()
            && kbps != found.map(|found| found.kbps)
        {
            self.problems.push(Problem::ignored(
                self.object.clone(),
                theirs.field(),
                format!("{rate} says something else, and is followed"),
                "keep one of the two",
            ));
        }
        found
    }

    fn connections(&mut self) -> Option<Connections> {
        let mut number = |name| self.number(annotations::ours, name, "connections", CONNECTIONS);
        let (ingress, egress) = (number("ingress_connections"), number("egress_connections"));
        ingress.or(egress)?;
        // The same in every process of one version; of another, counts may begin anew.
        let mut hasher = DefaultHasher::new();
        (self.object.to_string(), &self.meta.uid).hash(&mut hasher);
        Some(Connections {
            ingress: ingress.unwrap_or(0),
            egress: egress.unwrap_or(0),
            owner: hasher.finish(),
        })
    }

    /// A rate and its burst; Kube-OVN's default is what the rate carries in 0.8 s.
    fn rate(&mut self, of: Lookup, rate: &str, burst: &str) -> Option<Rate> {
        let (rate, burst) = self.pair(of, rate, burst, "Mbit", MAX)?;
        Some(Rate {
            kbps: rate * KBIT,
            burst_kbit: burst.map_or(four_fifths(rate * KBIT), |burst| burst * KBIT),
        })
    }

    /// A rate of packets and its burst; without one, a tenth of a second's packets.
    fn packets(&mut self, rate: &str, burst: &str) -> Option<PacketRate> {
        let (pps, burst) = self.pair(annotations::ours, rate, burst, "packets", u32::MAX)?;
        Some(PacketRate {
            pps,
            burst: burst.unwrap_or((pps / 10).max(1)),
        })
    }

    fn pair(
        &mut self,
        of: Lookup,
        rate: &str,
        burst: &str,
        unit: &str,
        most: u32,
    ) -> Option<(u32, Option<u32>)> {
        let value = self.number(of, rate, unit, most);
        let allowance = self.number(of, burst, unit, most);
        if value.is_none()
            && allowance.is_some()
            && let Some(found) = of(self.meta, burst)
        {
            self.problems.push(Problem::ignored(
                self.object.clone(),
                found.field(),
                format!("a burst without {rate} has no effect"),
                format!("add {rate}, or remove the burst"),
            ));
        }
        Some((value?, allowance))
    }

    /// One value; `0` is "no limit", as in Kube-OVN.
    fn number(&mut self, of: Lookup, name: &str, unit: &str, most: u32) -> Option<u32> {
        let annotation = of(self.meta, name)?;
        match annotation.value.parse::<u32>() {
            Ok(0) => None,
            Ok(value) if value <= most => Some(value),
            _ => {
                let what = format!(
                    "{:?} is not a whole number of {unit} between 0 and {most}: there is no such limit",
                    annotation.value
                );
                self.refuse(annotation, what, "write it like \"50\"");
                None
            }
        }
    }

    fn priority(&mut self) -> Priority {
        let Some(annotation) = annotations::ours(self.meta, "priority") else {
            return Priority::Normal;
        };
        match annotation.value {
            "high" => Priority::High,
            "normal" => Priority::Normal,
            "low" => Priority::Low,
            other => {
                let what = format!("{other:?} is no priority: normal holds");
                self.refuse(annotation, what, "write high, normal or low");
                Priority::Normal
            }
        }
    }

    fn dscp(&mut self) -> Option<u8> {
        let annotation = annotations::ours(self.meta, "dscp")?;
        match annotation.value.parse::<u8>() {
            Ok(value) if value < 64 => Some(value),
            _ => {
                let what = format!(
                    "{:?} is no code point: packets keep the one they have",
                    annotation.value
                );
                self.refuse(annotation, what, "write a number between 0 and 63");
                None
            }
        }
    }

    fn refuse(&mut self, annotation: Annotation<'_>, what: String, remedy: &str) {
        let (object, field) = (self.object.clone(), annotation.field());
        self.problems
            .push(Problem::refused(object, field, what, remedy));
    }
}

/// What a rate of kbit/s carries in 0.8 s, kbit.
fn four_fifths(kbps: u32) -> u32 {
    (u64::from(kbps) * 4 / 5).clamp(1, u32::MAX.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Kind, NamespacedName};

    fn qos(pairs: &[(&str, &str)]) -> (Qos, Vec<String>) {
        let meta = Meta {
            annotations: pairs
                .iter()
                .map(|(k, v)| (format!("ovn.kubernetes.io/{k}"), v.to_string()))
                .collect(),
            ..Meta::default()
        };
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        let mut problems = Vec::new();
        let qos = read(&pod, &meta, &mut problems);
        (qos, problems.iter().map(|p| p.to_string()).collect())
    }

    #[test]
    fn a_rate_alone_has_a_burst_of_four_fifths_of_a_second() {
        let (qos, problems) = qos(&[("egress_rate", "50")]);
        assert_eq!(
            qos.egress,
            Some(Rate {
                kbps: 50_000,
                burst_kbit: 40_000
            })
        );
        assert_eq!(qos.ingress, None);
        assert!(problems.is_empty());
    }

    #[test]
    fn directions_do_not_mix_and_a_burst_is_taken_as_written() {
        let (qos, _) = qos(&[
            ("ingress_rate", "10"),
            ("ingress_burst", "3"),
            ("egress_rate", "20"),
        ]);
        assert_eq!(
            qos.ingress,
            Some(Rate {
                kbps: 10_000,
                burst_kbit: 3_000
            })
        );
        assert_eq!(
            qos.egress,
            Some(Rate {
                kbps: 20_000,
                burst_kbit: 16_000
            })
        );
    }

    #[test]
    fn zero_is_no_limit() {
        let (qos, problems) = qos(&[("egress_rate", "0")]);
        assert_eq!(qos, Qos::default());
        assert!(problems.is_empty());
    }

    #[test]
    fn a_value_that_is_not_a_number_of_mbit_is_reported_and_the_other_direction_holds() {
        for bad in ["50M", "-1", "0.5", "4294968", "99999999999999999999"] {
            let (qos, problems) = qos(&[("egress_rate", bad), ("ingress_rate", "10")]);
            assert_eq!(qos.egress, None, "{bad}");
            assert!(qos.ingress.is_some(), "{bad}");
            assert_eq!(problems.len(), 1, "{bad}");
            assert!(
                problems[0].contains("ovn.kubernetes.io/egress_rate") && problems[0].contains(bad)
            );
        }
        assert!(qos(&[("egress_rate", "4294967")]).0.egress.is_some());
    }

    #[test]
    fn a_burst_without_a_rate_is_reported() {
        let (qos, problems) = qos(&[("egress_burst", "5")]);
        assert_eq!(qos, Qos::default());
        assert!(problems[0].contains("without egress_rate"), "{problems:?}");
    }

    fn ours(pairs: &[(&str, &str)]) -> (Meta, ObjectRef) {
        let meta = Meta {
            annotations: pairs
                .iter()
                .map(|(k, v)| (format!("sluice.io/{k}"), v.to_string()))
                .collect(),
            ..Meta::default()
        };
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        (meta, pod)
    }

    #[test]
    fn packets_a_second_priority_and_code_point_are_read() {
        let (meta, pod) = ours(&[
            ("egress_packet_rate", "1000"),
            ("ingress_packet_rate", "5"),
            ("ingress_packet_burst", "7"),
            ("priority", "high"),
            ("dscp", "46"),
        ]);
        let mut problems = Vec::new();
        let qos = read(&pod, &meta, &mut problems);
        assert_eq!(problems, []);
        let packets = |pps, burst| Some(PacketRate { pps, burst });
        assert_eq!(qos.egress_packets, packets(1000, 100));
        assert_eq!(qos.ingress_packets, packets(5, 7));
        assert_eq!((qos.priority.queue(), qos.dscp), (1, Some(46)));
        assert_eq!((qos.ingress, qos.egress), (None, None));
    }

    #[test]
    fn what_of_ours_cannot_be_read_is_reported_and_has_no_effect() {
        for (name, value) in [
            ("egress_packet_rate", "1k"),
            ("priority", "urgent"),
            ("dscp", "64"),
            ("dscp", "EF"),
        ] {
            let (meta, pod) = ours(&[(name, value)]);
            let mut problems = Vec::new();
            assert_eq!(read(&pod, &meta, &mut problems), Qos::default());
            assert_eq!(problems.len(), 1, "{name}");
            let said = problems[0].to_string();
            assert!(said.contains(name) && said.contains(value), "{said}");
        }
    }

    #[test]
    fn a_namespace_has_limits_under_our_prefix_only() {
        let (meta, pod) = ours(&[("egress_rate", "10"), ("egress_burst", "1")]);
        let mut problems = Vec::new();
        let limits = of_namespace(&pod, &meta, &mut problems).unwrap();
        let egress = Rate {
            kbps: 10_000,
            burst_kbit: 1000,
        };
        assert_eq!((limits.egress, limits.ingress), (Some(egress), None));
        assert_eq!(of_namespace(&pod, &Meta::default(), &mut problems), None);
        assert_eq!(problems, []);
    }

    #[test]
    fn kubernetes_own_bandwidth_holds_where_kube_ovn_says_nothing() {
        let (mut meta, pod) = ours(&[("ingress_connections", "20"), ("egress_connections", "0")]);
        let mut annotate = |key: &str, value: &str| {
            meta.annotations.insert(key.into(), value.into());
        };
        annotate("kubernetes.io/ingress-bandwidth", "10M");
        annotate("kubernetes.io/egress-bandwidth", "1.5M");
        annotate("ovn.kubernetes.io/ingress_burst", "2");
        let mut problems = Vec::new();
        let qos = read(&pod, &meta, &mut problems);
        assert_eq!(problems, []);
        let rate = |kbps, burst_kbit| Some(Rate { kbps, burst_kbit });
        assert_eq!(
            (qos.ingress, qos.egress),
            (rate(10_000, 2000), rate(1500, 1200))
        );
        let connections = qos.connections.unwrap();
        assert_eq!((connections.ingress, connections.egress), (20, 0));
        meta.uid = Some("a".into());
        let other = read(&pod, &meta, &mut problems).connections.unwrap();
        assert_ne!(other.owner, connections.owner, "its successor's");
        let mut annotate = |key: &str, value: &str| {
            meta.annotations.insert(key.into(), value.into());
        };
        annotate("ovn.kubernetes.io/ingress_rate", "3");
        annotate("kubernetes.io/egress-bandwidth", "10Mbit");
        let qos = read(&pod, &meta, &mut problems);
        assert_eq!((qos.ingress, qos.egress), (rate(3000, 2000), None));
        let said: Vec<_> = problems.iter().map(|p| p.to_string()).collect();
        assert!(said[0].contains("ingress-bandwidth"), "{said:?}");
        assert!(said[1].contains("10Mbit"), "{said:?}");
        assert_eq!(said.len(), 2);
    }
}
