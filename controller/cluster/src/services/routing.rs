//! What a Service says of how its connections are spread.

use std::collections::BTreeMap;

use crate::annotations::{self, Annotation};
use crate::desired::{CellRules, CellStep, Distribution, Routing};
use crate::name::ObjectRef;
use crate::problem::Problem;
use crate::view::Service;

/// Most seconds of session affinity (the API server's own limit).
const LONGEST_AFFINITY: i64 = 86_400;

/// Most seconds that a learnt flow lives without being used (OpenFlow 1.3.5, 7.3.4.1: 16 bits).
const LONGEST_KEPT: i64 = 65_535;

/// Reads it; the canary's Service is found elsewhere.
pub(super) fn read(object: &ObjectRef, service: &Service, problems: &mut Vec<Problem>) -> Routing {
    let mut reader = Reader {
        object,
        service,
        problems,
    };
    let zone_weights = reader.zone_weights();
    let distribution = reader.distribution(!zone_weights.is_empty());
    let auto = reader.is_auto();
    let strict = reader.strict(auto || distribution != Distribution::Any);
    Routing {
        affinity: reader.affinity(),
        internal_local: service.internal_local,
        external_local: service.exposure.external_local,
        // Automatic hints that are not there, because zones are too unequal, are no excuse then.
        distribution: match distribution {
            Distribution::Any if auto && strict => Distribution::SameZone,
            other => other,
        },
        strict,
        zone_weights,
        cells: reader.cells(),
        canary: None,
    }
}

struct Reader<'a> {
    object: &'a ObjectRef,
    service: &'a Service,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn ignored(&mut self, field: impl Into<String>, message: String, remedy: &str) {
        let problem = Problem::ignored(self.object.clone(), field, message, remedy);
        self.problems.push(problem);
    }

    fn annotation(&self, name: &str) -> Option<Annotation<'a>> {
        annotations::ours(&self.service.meta, name)
    }

    fn affinity(&mut self) -> Option<u32> {
        let seconds = self.service.affinity?;
        if !(1..=LONGEST_AFFINITY).contains(&seconds) {
            self.ignored(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                format!("{seconds} is outside 1..={LONGEST_AFFINITY}; 10800 is used"),
                "correct it",
            );
            return Some(10_800);
        }
        if seconds > LONGEST_KEPT {
            self.ignored(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                format!(
                    "{seconds} is longer than a switch remembers a client; {LONGEST_KEPT} is used"
                ),
                "ask for less",
            );
        }
        u32::try_from(seconds.min(LONGEST_KEPT)).ok()
    }

    fn distribution(&mut self, weighted: bool) -> Distribution {
        let Some(text) = self.service.traffic_distribution.as_deref() else {
            return Distribution::Any;
        };
        let distribution = match text {
            "PreferClose" | "PreferSameZone" => Distribution::SameZone,
            "PreferSameNode" => Distribution::SameNode,
            other => {
                self.ignored(
                    "spec.trafficDistribution",
                    format!("{other:?} is not known and has no effect"),
                    "use PreferSameZone, PreferSameNode or PreferClose",
                );
                return Distribution::Any;
            }
        };
        if weighted {
            self.ignored(
                "spec.trafficDistribution",
                format!("{text} contradicts sluice.io/zone-weights, which is followed"),
                "keep one of the two",
            );
            return Distribution::Any;
        }
        distribution
    }

    /// The older annotation; what it asks for is in the slices' hints.
    fn is_auto(&mut self) -> bool {
        let key = "service.kubernetes.io/topology-mode";
        let value = self.service.meta.annotations.get(key).map(String::as_str);
        match value {
            None | Some("" | "Disabled" | "disabled") => false,
            Some("Auto" | "auto") => true,
            Some(other) => {
                self.ignored(
                    format!("metadata.annotations[{key}]"),
                    format!("{other:?} is not known and has no effect"),
                    "use Auto, or spec.trafficDistribution",
                );
                false
            }
        }
    }

    fn strict(&mut self, preference: bool) -> bool {
        let Some(annotation) = self.annotation("topology") else {
            return false;
        };
        match (annotation.value, preference) {
            ("preferred", _) => false,
            ("strict", true) => true,
            ("strict", false) => {
                self.ignored(
                    annotation.field(),
                    "strict says nothing where no endpoint is preferred".into(),
                    "set spec.trafficDistribution too",
                );
                false
            }
            (other, _) => {
                self.ignored(
                    annotation.field(),
                    format!("{other:?} is neither strict nor preferred; it has no effect"),
                    "write strict",
                );
                false
            }
        }
    }

    /// `zone=weight`, comma between.
    fn zone_weights(&mut self) -> BTreeMap<String, u16> {
        let Some(annotation) = self.annotation("zone-weights") else {
            return BTreeMap::new();
        };
        let mut weights = BTreeMap::new();
        for item in annotation.value.split(',') {
            let pair = item.split_once('=').and_then(|(zone, weight)| {
                let weight = weight.trim().parse::<u16>().ok()?;
                let zone = zone.trim();
                (!zone.is_empty() && weight <= 10_000).then(|| (zone.to_string(), weight))
            });
            let duplicate = pair
                .as_ref()
                .is_some_and(|(zone, _)| weights.contains_key(zone));
            match pair {
                Some((zone, weight)) if !duplicate => drop(weights.insert(zone, weight)),
                _ => {
                    let message =
                        format!("{item:?} is not a zone's weight; every endpoint counts alike");
                    self.ignored(
                        annotation.field(),
                        message,
                        "write it like zone-a=80,zone-b=20",
                    );
                    return BTreeMap::new();
                }
            }
        }
        if weights.values().all(|weight| *weight == 0) {
            let message = "no zone has a share; every endpoint counts alike".into();
            self.ignored(
                annotation.field(),
                message,
                "give one zone a weight above 0",
            );
            return BTreeMap::new();
        }
        weights
    }

    /// `ignore`, or rules `cell: step, step` with semicolons between, the one for other cells without
    /// a name; a step is a cell, `any` or `none`.
    fn cells(&mut self) -> CellRules {
        let Some(annotation) = self.annotation("cell-fallback") else {
            return CellRules::default();
        };
        if annotation.value == "ignore" {
            return CellRules::Ignored;
        }
        let mut by_cell = BTreeMap::new();
        let mut others = None;
        for rule in annotation.value.split(';').map(str::trim) {
            let (cell, steps) = match rule.split_once(':') {
                Some((cell, steps)) => (Some(cell.trim()).filter(|cell| *cell != "*"), steps),
                None => (None, rule),
            };
            let steps = steps_of(steps);
            let twice = match cell {
                Some(cell) => by_cell.contains_key(cell),
                None => others.is_some(),
            };
            let Some(steps) = steps.filter(|_| !twice && cell != Some("")) else {
                let message = format!("{rule:?} cannot be followed; any cell is the fall-back");
                self.ignored(
                    annotation.field(),
                    message,
                    "write it like \"any\", \"none\", \"b, any\" or \"a: b; *: none\"",
                );
                return CellRules::default();
            };
            match cell {
                Some(cell) => drop(by_cell.insert(cell.to_string(), steps)),
                None => others = Some(steps),
            }
        }
        CellRules::Then {
            by_cell,
            others: others.unwrap_or_else(|| vec![CellStep::Any]),
        }
    }
}

/// Steps of a rule; `none` stands alone, and nothing comes after `any`.
fn steps_of(text: &str) -> Option<Vec<CellStep>> {
    let names: Vec<_> = text.split(',').map(str::trim).collect();
    if names == ["none"] {
        return Some(Vec::new());
    }
    let last = names.len().saturating_sub(1);
    let step = |(at, name): (usize, &&str)| match *name {
        "any" => (at == last).then_some(CellStep::Any),
        "" | "none" | "*" => None,
        cell if cell.contains(char::is_whitespace) => None,
        cell => Some(CellStep::Cell(cell.to_string())),
    };
    names.iter().enumerate().map(step).collect()
}
