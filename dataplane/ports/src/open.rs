//! From a specification to an open port.

use crate::{Pools, Port, PortError, PortKind, PortSpec, TestPort, VnetPort};

/// Opens the device behind `spec`. Tunnel ports have none: they live in the worker.
pub fn open(spec: &PortSpec, pools: &Pools) -> Result<Box<dyn Port>, PortError> {
    match &spec.kind {
        PortKind::Tap { .. } | PortKind::Veth { .. } => Ok(Box::new(VnetPort::open(spec, pools)?)),
        PortKind::Test(test) => Ok(Box::new(TestPort::new(&spec.name, test, pools))),
        #[cfg(feature = "dpdk")]
        PortKind::Dpdk { devargs } => Ok(Box::new(crate::DpdkPort::open(spec, devargs, pools)?)),
        #[cfg(not(feature = "dpdk"))]
        PortKind::Dpdk { devargs } => Err(unsupported(
            spec,
            format!(
                "this build has no DPDK, so dev={devargs} cannot be opened; use dev=tap or dev=veth"
            ),
        )),
        PortKind::Tunnel(_) => Err(unsupported(spec, "a tunnel port has no device".into())),
    }
}

fn unsupported(spec: &PortSpec, reason: String) -> PortError {
    PortError::Unsupported {
        port: spec.name.clone(),
        reason,
    }
}
