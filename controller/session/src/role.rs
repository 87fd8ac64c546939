//! What we are to a switch when there are several of us: OpenFlow's roles (1.3.5, 6.3.5).
//!
//! Only the master writes. The generation grows with every election, so that a switch refuses a
//! master of the past: that is what keeps two controllers from writing at once, whatever they
//! believe of each other.

use openflow::error;
use openflow::msg::{Message, Role as OfRole, RoleRequest};

use crate::connection::{Connection, ConnectionError};

/// What we are to every switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The only controller; switches are not told of roles.
    #[default]
    Alone,
    /// The one that writes, of this generation.
    Master(u64),
    /// One that waits and only reads; the generation it knows of.
    Slave(u64),
}

impl Role {
    /// True for those that change what a switch holds.
    pub fn writes(self) -> bool {
        !matches!(self, Role::Slave(_))
    }
}

/// What became of a request for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// We have it.
    Yes,
    /// The switch has seen a master of this later generation.
    Outranked(u64),
}

/// Asks a switch for the role.
pub(crate) async fn take(
    connection: &mut Connection,
    role: Role,
) -> Result<Taken, ConnectionError> {
    let (wanted, generation) = match role {
        Role::Alone => return Ok(Taken::Yes),
        Role::Master(generation) => (OfRole::Master, generation),
        Role::Slave(generation) => (OfRole::Slave, generation),
    };
    match ask(connection, wanted, generation).await {
        Ok(_) => Ok(Taken::Yes),
        Err(ConnectionError::Refused { error, .. }) if error == error::OFPRRFC_STALE => {
            let newer = ask(connection, OfRole::NoChange, 0).await?;
            if wanted == OfRole::Slave {
                // It knows more of elections than we do; slaves we are all the same.
                ask(connection, wanted, newer).await?;
                return Ok(Taken::Yes);
            }
            Ok(Taken::Outranked(newer))
        }
        Err(other) => Err(other),
    }
}

/// Sends one request; gives the generation of the reply.
async fn ask(
    connection: &mut Connection,
    role: OfRole,
    generation_id: u64,
) -> Result<u64, ConnectionError> {
    let request = Message::RoleRequest(RoleRequest {
        role,
        generation_id,
        short_id: 0,
    });
    match connection.ask(request, "for a role").await? {
        Message::RoleReply(reply) => Ok(reply.generation_id),
        _ => Err(ConnectionError::NotOpenFlow(
            "an answer to a request for a role of another kind".into(),
        )),
    }
}
