//! From a specification to an open port.

use crate::{Pools, Port, PortError, PortKind, PortSpec, TestPort, VnetPort};

/// Opens the device behind `spec` for one worker.
pub fn open(spec: &PortSpec, pools: &Pools) -> Result<Box<dyn Port>, PortError> {
    open_for(spec, pools, 1)
}

/// Opens the device behind `spec`, with a tx queue for each of so many workers if it has as many.
/// Tunnel ports have no device: they live in the worker.
pub fn open_for(
    spec: &PortSpec,
    pools: &Pools,
    workers: usize,
) -> Result<Box<dyn Port>, PortError> {
    #[cfg(not(feature = "dpdk"))]
    let _ = workers; // only DPDK's devices have several queues
    match &spec.kind {
        PortKind::Tap { .. } | PortKind::Veth { .. } => Ok(Box::new(VnetPort::open(spec, pools)?)),
        PortKind::Test(test) => Ok(Box::new(TestPort::new(&spec.name, test, pools))),
        #[cfg(feature = "dpdk")]
        PortKind::Dpdk { devargs } => Ok(Box::new(crate::DpdkPort::open(
            spec, devargs, pools, workers,
        )?)),
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
