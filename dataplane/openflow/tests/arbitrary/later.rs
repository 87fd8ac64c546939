//! What each version has beyond [`super::message`], and how a version says what the model can.

use super::*;

/// Any message of a version.
pub fn message_in(version: Version) -> BoxedStrategy<Message> {
    let base = message()
        .prop_filter("not of that version", move |message| match message {
            Message::QueueGetConfigRequest(_) | Message::QueueGetConfigReply { .. } => {
                version < Version::V1_4
            }
            // Masks of any bits are refused from 1.4 on; it has its own below.
            Message::SetAsync(_) => version < Version::V1_4,
            _ => true,
        })
        .boxed();
    let mut all = vec![(8, base), (3, extensions().boxed())];
    if version >= Version::V1_4 {
        all.push((6, since_1_4(version).boxed()));
    }
    if version >= Version::V1_5 {
        all.push((6, since_1_5().boxed()));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}

/// Open vSwitch's own messages, and those that 1.3 has as the ONF's.
fn extensions() -> impl Strategy<Value = Message> {
    let role = || select(vec![Role::Equal, Role::Master, Role::Slave]);
    let map =
        (any::<u16>(), any::<u8>(), 0u8..32, 0u16..64).prop_map(|(class, kind, len, index)| {
            TlvMap {
                class,
                kind,
                len: 4 * len,
                index,
            }
        });
    let maps = prop::collection::vec(map, 0..4).boxed();
    let command = select(vec![TlvCommand::Add, TlvCommand::Delete, TlvCommand::Clear]);
    let packet = message().prop_filter_map("a packet-in", |message| match message {
        Message::PacketIn(m) => Some(Message::NxtPacketIn(m)),
        Message::FlowRemoved(m) => Some(Message::NxtFlowRemoved(FlowRemoved {
            hard_timeout: 0,
            ..m
        })),
        _ => None,
    });
    // On 1.3 by NXT_SET_ASYNC_CONFIG2.
    let some_masks = settings(Version::V1_4)
        .prop_filter("not all", |s| s.entries.len() != 6)
        .prop_map(Message::SetAsync);
    prop_oneof![
        some_masks,
        role().prop_map(Message::NxtRoleRequest),
        role().prop_map(Message::NxtRoleReply),
        packet,
        Just(Message::NxtFlowAge),
        Just(Message::TlvTableRequest),
        (command, maps.clone())
            .prop_map(|(command, maps)| Message::TlvTableMod(TlvTableMod { command, maps })),
        (any::<u32>(), any::<u16>(), maps).prop_map(|(max_space, max_fields, maps)| {
            Message::TlvTableReply(TlvTable {
                max_space,
                max_fields,
                maps,
            })
        }),
        ct_flush().prop_map(Message::CtFlush),
        any::<u32>().prop_map(Message::FlowMonitorCancel),
        Just(Message::FlowMonitorPaused),
        Just(Message::FlowMonitorResumed),
        role_status(Vec::new()),
        (any::<u32>(), changes()).prop_filter_map("groups and meters", |(xid, request)| {
            matches!(request, Message::GroupMod(_) | Message::MeterMod(_)).then(|| {
                Message::RequestForward(RequestForward {
                    xid,
                    request: Box::new(request),
                })
            })
        }),
        prop::collection::vec(monitor(MonitorCommand::Add, 0x3f, false), 0..3)
            .prop_map(RequestBody::FlowMonitor)
            .prop_map(asked),
        prop::collection::vec(update(false), 0..4)
            .prop_map(ReplyBody::FlowMonitor)
            .prop_map(answered),
    ]
}

fn asked(body: RequestBody) -> Message {
    Message::MultipartRequest(MultipartRequest { more: false, body })
}

fn answered(body: ReplyBody) -> Message {
    Message::MultipartReply(MultipartReply { more: false, body })
}

fn tuple(v6: bool) -> impl Strategy<Value = CtTuple> {
    let address = || {
        any::<Option<[u8; 16]>>().prop_map(move |octets| {
            // No mapped address, and none that is all zeros.
            let octets = octets.map(|mut octets| {
                octets[0] |= 1;
                octets
            });
            octets.map(|octets| match v6 {
                true => IpAddr::from(octets),
                false => IpAddr::from(*octets.first_chunk::<4>().unwrap()),
            })
        })
    };
    (
        address(),
        address(),
        prop::option::of(1u16..),
        prop::option::of(1u16..),
        prop::option::of((1u16.., any::<u8>(), any::<u8>())),
    )
        .prop_map(|(src, dst, src_port, dst_port, icmp)| CtTuple {
            src,
            dst,
            src_port,
            dst_port,
            icmp_id: icmp.map(|icmp| icmp.0),
            icmp_type: icmp.map(|icmp| icmp.1),
            icmp_code: icmp.map(|icmp| icmp.2),
        })
}

fn ct_flush() -> impl Strategy<Value = CtFlush> {
    any::<bool>().prop_flat_map(|v6| {
        (
            any::<u8>(),
            tuple(v6),
            tuple(v6),
            any::<Option<u16>>(),
            any::<Option<(u32, u32)>>(),
            any::<Option<(u128, u128)>>(),
        )
            .prop_map(|(proto, original, reply, zone, mark, label)| CtFlush {
                proto,
                original,
                reply,
                zone,
                mark: mark.map(|(value, mask)| (value & mask, mask)),
                label: label.map(|(value, mask)| (value & mask, mask)),
            })
    })
}

fn experimenters() -> impl Strategy<Value = Vec<RawProperty>> {
    let one = (any::<[u8; 8]>(), bytes()).prop_map(|(head, rest)| RawProperty {
        kind: RawProperty::EXPERIMENTER,
        data: [head.to_vec(), rest].concat(),
    });
    prop::collection::vec(one, 0..3)
}

fn role_status(properties: Vec<RawProperty>) -> impl Strategy<Value = Message> {
    let reason = select(vec![
        RoleReason::MasterRequest,
        RoleReason::Config,
        RoleReason::Experimenter,
    ]);
    (role(), reason).prop_map(move |(role, reason)| {
        Message::RoleStatus(RoleStatus {
            role: role.role,
            reason,
            generation_id: role.generation_id,
            properties: properties.clone(),
        })
    })
}

fn monitor(
    command: MonitorCommand,
    flags: u16,
    group: bool,
) -> impl Strategy<Value = FlowMonitorRequest> {
    (
        any::<[u32; 3]>(),
        0..=flags,
        any::<u8>(),
        matching(),
        select(vec![MONITOR_ADD, MONITOR_REMOVED, MONITOR_MODIFY]),
    )
        .prop_map(move |(n, flags, table, matching, one)| FlowMonitorRequest {
            id: n[0],
            command,
            flags: flags | one,
            out_port: port_from(n[1]),
            out_group: if group { GroupId(n[2]) } else { GroupId::ANY },
            table: TableId(table),
            matching,
        })
}

fn update(native: bool) -> impl Strategy<Value = FlowUpdate> {
    let events = [FlowEvent::Added, FlowEvent::Removed, FlowEvent::Modified];
    let initial = native.then_some(FlowEvent::Initial);
    let event = select(events.into_iter().chain(initial).collect::<Vec<_>>());
    let full = (event, 0u8..6, flow_mod()).prop_map(|(event, reason, flow)| {
        let removed = event == FlowEvent::Removed;
        FlowUpdate::Full(FlowUpdateFull {
            event,
            reason: RemovedReason::from_wire(reason).filter(|_| removed),
            table: flow.table,
            idle_timeout: flow.idle_timeout,
            hard_timeout: flow.hard_timeout,
            priority: flow.priority,
            cookie: flow.cookie,
            matching: flow.matching,
            instructions: flow.instructions,
        })
    });
    let abbrev = any::<u32>().prop_map(FlowUpdate::Abbrev);
    let pauses = select(match native {
        true => vec![FlowUpdate::Paused, FlowUpdate::Resumed],
        false => vec![FlowUpdate::Abbrev(9)],
    });
    prop_oneof![3 => full, 1 => abbrev, 1 => pauses]
}

fn table_desc() -> impl Strategy<Value = TableDesc> {
    (
        any::<u8>(),
        any::<u32>(),
        any::<Option<u32>>(),
        any::<Option<[u8; 3]>>(),
        experimenters(),
    )
        .prop_map(|(table, config, eviction, vacancy, properties)| TableDesc {
            table: TableId(table),
            config,
            eviction,
            vacancy: vacancy.map(|n| Vacancy {
                down: n[0],
                up: n[1],
                current: n[2],
            }),
            properties,
        })
}

fn queue() -> impl Strategy<Value = PacketQueue> {
    (
        any::<[Option<u16>; 2]>(),
        any::<[u32; 2]>(),
        experimenters(),
    )
        .prop_map(|(rates, n, properties)| PacketQueue {
            queue: n[0],
            port: port_from(n[1]),
            min_rate: rates[0],
            max_rate: rates[1],
            properties,
        })
}

fn settings(version: Version) -> impl Strategy<Value = AsyncSettings> {
    let kinds = AsyncKind::ALL
        .into_iter()
        .filter(move |k| k.since() <= version);
    let entry = |kind: AsyncKind| {
        let reasons = match kind {
            AsyncKind::TableStatus => 0b1_1000,
            AsyncKind::RequestForward | AsyncKind::FlowStats => 0b11,
            _ => 0b111,
        };
        (any::<[bool; 2]>(), any::<[u32; 2]>()).prop_map(move |(there, masks)| {
            let both = [(true, there[0], masks[0]), (false, there[1], masks[1])];
            let there = both.into_iter().filter(|(_, there, _)| *there);
            let entries = there.map(|(slave, _, mask)| AsyncEntry {
                kind,
                slave,
                mask: mask & reasons,
            });
            entries.collect::<Vec<_>>()
        })
    };
    let entries: Vec<_> = kinds.map(entry).collect();
    (entries, experimenters()).prop_map(|(entries, properties)| AsyncSettings {
        entries: entries.concat(),
        properties,
    })
}

fn since_1_4(version: Version) -> impl Strategy<Value = Message> {
    let status = (any::<bool>(), table_desc()).prop_map(|(up, desc)| {
        let reason = match up {
            true => TableReason::VacancyUp,
            false => TableReason::VacancyDown,
        };
        Message::TableStatus(TableStatus { reason, desc })
    });
    let table_mod = (table_desc(), 0u8..=100, 0u8..=100).prop_map(|(desc, a, b)| {
        Message::TableMod(TableMod {
            table: desc.table,
            config: desc.config,
            eviction: desc.eviction,
            vacancy: desc.vacancy.map(|_| Vacancy {
                down: a.min(b),
                up: a.max(b),
                current: 0,
            }),
            properties: desc.properties,
        })
    });
    let command = select(vec![MonitorCommand::Add, MonitorCommand::Modify]);
    let monitors = command.prop_flat_map(|command| monitor(command, 0x7f, true));
    let with_properties =
        (changes(), experimenters()).prop_map(|(message, properties)| match message {
            Message::PortMod(m) => Message::PortMod(PortMod { properties, ..m }),
            message => Message::BundleAdd(BundleAdd {
                bundle: 5,
                flags: 0,
                xid: 7,
                message: Box::new(message),
                properties,
            }),
        });
    let more_descs = (reply(), experimenters()).prop_filter_map("has properties", |(reply, p)| {
        Some(match reply {
            ReplyBody::PortDesc(mut list) => {
                list.iter_mut().for_each(|d| d.properties = p.clone());
                ReplyBody::PortDesc(list)
            }
            ReplyBody::PortStats(mut list) => {
                list.iter_mut().for_each(|d| d.properties = p.clone());
                ReplyBody::PortStats(list)
            }
            ReplyBody::Queue(mut list) => {
                list.iter_mut().for_each(|d| d.properties = p.clone());
                ReplyBody::Queue(list)
            }
            ReplyBody::TableFeatures(mut list) => {
                list.iter_mut().for_each(|d| d.properties = p.clone());
                ReplyBody::TableFeatures(list)
            }
            _ => return None,
        })
    });
    prop_oneof![
        status,
        table_mod,
        experimenters().prop_flat_map(role_status),
        settings(version).prop_map(Message::SetAsync),
        settings(version).prop_map(Message::GetAsyncReply),
        with_properties,
        more_descs.prop_map(answered),
        Just(asked(RequestBody::TableDesc)),
        prop::collection::vec(table_desc(), 0..3)
            .prop_map(ReplyBody::TableDesc)
            .prop_map(answered),
        any::<[u32; 2]>().prop_map(|n| asked(RequestBody::QueueDesc {
            port: port_from(n[0]),
            queue: n[1],
        })),
        prop::collection::vec(queue(), 0..3)
            .prop_map(ReplyBody::QueueDesc)
            .prop_map(answered),
        prop::collection::vec(monitors, 0..3)
            .prop_map(RequestBody::FlowMonitor)
            .prop_map(asked),
        prop::collection::vec(update(true), 0..4)
            .prop_map(ReplyBody::FlowMonitor)
            .prop_map(answered),
        (flow_mod(), any::<u16>())
            .prop_map(|(flow, importance)| { Message::FlowMod(FlowMod { importance, ..flow }) }),
        (flow_stats(), any::<u16>()).prop_map(|(flow, importance)| {
            answered(ReplyBody::Flow(vec![FlowStats { importance, ..flow }]))
        }),
    ]
}

fn selection() -> impl Strategy<Value = Selection> {
    let hash = (any::<u64>(), matching()).prop_map(|(param, fields)| {
        let mut masks = Match::any();
        for entry in fields.iter() {
            masks.set(entry.field, entry.mask, entry.mask);
        }
        Selection {
            method: "hash".into(),
            param,
            fields: masks,
        }
    });
    let plain = any::<u64>().prop_map(|param| Selection {
        method: "dp_hash".into(),
        param,
        fields: Match::any(),
    });
    prop_oneof![hash, plain]
}

fn numbered_buckets() -> impl Strategy<Value = Vec<Bucket>> {
    let bucket =
        (bucket(), 0..=BUCKET_MAX, experimenters()).prop_map(|(bucket, id, properties)| Bucket {
            id,
            properties,
            ..bucket
        });
    prop::collection::vec(bucket, 1..4).prop_filter("numbers of their own", |buckets| {
        let ids: std::collections::BTreeSet<u32> = buckets.iter().map(|b| b.id).collect();
        ids.len() == buckets.len()
    })
}

fn counters() -> impl Strategy<Value = FlowCounters> {
    (flow_stats(), more_stats(), any::<bool>()).prop_map(|(flow, more, trigger)| FlowCounters {
        table: flow.table,
        reason: match trigger {
            true => FlowStatsReason::Trigger,
            false => FlowStatsReason::Request,
        },
        priority: flow.priority,
        duration_sec: flow.duration_sec,
        duration_nsec: flow.duration_nsec,
        packet_count: flow.packet_count,
        byte_count: flow.byte_count,
        matching: flow.matching,
        more,
    })
}

fn more_stats() -> impl Strategy<Value = MoreStats> {
    any::<(Option<(u32, u32)>, Option<u32>)>()
        .prop_map(|(idle, flow_count)| MoreStats { idle, flow_count })
}

fn controller_status() -> impl Strategy<Value = ControllerStatus> {
    let reason = select(vec![
        ControllerReason::Request,
        ControllerReason::ChannelStatus,
        ControllerReason::Role,
        ControllerReason::Added,
        ControllerReason::Removed,
        ControllerReason::ShortId,
        ControllerReason::Experimenter,
    ]);
    (
        any::<u16>(),
        role(),
        reason,
        any::<bool>(),
        prop::option::of(name()),
        experimenters(),
    )
        .prop_map(
            |(short_id, role, reason, up, uri, properties)| ControllerStatus {
                short_id,
                role: role.role,
                reason,
                up,
                uri,
                properties,
            },
        )
}

fn since_1_5() -> impl Strategy<Value = Message> {
    let group = |command: GroupCommand, command_bucket_id: u32| {
        move |(group, buckets, selection, properties)| {
            Message::GroupMod(GroupMod {
                command,
                kind: GroupType::Select,
                group: GroupId(group),
                command_bucket_id,
                buckets,
                selection,
                properties,
            })
        }
    };
    let parts = || {
        (
            0..=GroupId::MAX.0,
            numbered_buckets(),
            prop::option::of(selection()),
            experimenters(),
        )
    };
    let place = select(vec![0, 7, BUCKET_MAX, BUCKET_FIRST, BUCKET_LAST]);
    let insert = (place, parts()).prop_map(move |(at, (id, buckets, _, properties))| {
        group(GroupCommand::InsertBucket, at)((id, buckets, None, properties))
    });
    let remove = select(vec![3, BUCKET_LAST, BUCKET_ALL]).prop_map(move |at| {
        group(GroupCommand::RemoveBucket, at)((5, Vec::new(), None, Vec::new()))
    });
    let out = (changes(), matching()).prop_filter_map("a packet-out", |(message, fields)| {
        let Message::PacketOut(m) = message else {
            return None;
        };
        let mut matching = Match::any();
        let pipeline = |f: Field| f.is_pipeline() && f.info().prereq == Prereq::None;
        for entry in fields.iter().filter(|e| pipeline(e.field)) {
            matching.set(entry.field, entry.value, entry.mask);
        }
        matching.set(Field::InPort, 0, 0);
        Some(Message::PacketOut(PacketOut { matching, ..m }))
    });
    let flows = (flow_stats(), more_stats(), 1u32..9).prop_map(|(flow, more, meter)| {
        let mut flow = FlowStats { more, ..flow };
        flow.instructions.apply.push(Action::Meter(MeterId(meter)));
        // In front it would be the instruction.
        flow.instructions.meter = Some(MeterId(1));
        answered(ReplyBody::Flow(vec![flow]))
    });
    let removed = (message(), more_stats()).prop_filter_map("a flow", |(message, more)| {
        let Message::FlowRemoved(m) = message else {
            return None;
        };
        Some(Message::FlowRemoved(FlowRemoved { more, ..m }))
    });
    let features = (table_features(), any::<u32>(), matching()).prop_map(|(table, n, types)| {
        let oxms = table.matching.clone();
        let types = types.iter().collect();
        answered(ReplyBody::TableFeatures(vec![TableFeatures {
            command: FeaturesCommand::Enable,
            features: n,
            sync_from: table.next_tables.clone(),
            write_copyfield: oxms.clone(),
            apply_copyfield: oxms.clone(),
            apply_copyfield_miss: oxms,
            packet_types: Some(types),
            ..table
        }]))
    });
    prop_oneof![
        parts().prop_map(group(GroupCommand::Add, BUCKET_ALL)),
        parts().prop_map(group(GroupCommand::AddOrModify, BUCKET_ALL)),
        insert,
        remove,
        parts().prop_map(|(group, buckets, selection, properties)| {
            answered(ReplyBody::GroupDesc(vec![GroupDesc {
                group: GroupId(group),
                kind: GroupType::Select,
                buckets,
                selection,
                properties,
            }]))
        }),
        out,
        flows,
        removed,
        features,
        any::<u32>().prop_map(|n| asked(RequestBody::GroupDesc(GroupId(n)))),
        any::<u32>().prop_map(|n| asked(RequestBody::PortDesc(port_from(n)))),
        Just(asked(RequestBody::ControllerStatus)),
        prop::collection::vec(counters(), 0..3)
            .prop_map(ReplyBody::FlowCounters)
            .prop_map(answered),
        prop::collection::vec(controller_status(), 0..3)
            .prop_map(ReplyBody::ControllerStatus)
            .prop_map(answered),
        controller_status().prop_map(Message::ControllerStatus),
        (any::<u32>(), experimenters()).prop_map(|(flags, properties)| {
            asked(RequestBody::BundleFeatures(BundleFeaturesRequest {
                flags,
                properties,
            }))
        }),
        (any::<u16>(), experimenters()).prop_map(|(capabilities, properties)| {
            answered(ReplyBody::BundleFeatures(BundleFeatures {
                capabilities,
                properties,
            }))
        }),
        (role(), any::<u16>()).prop_map(|(role, short_id)| {
            Message::RoleRequest(RoleRequest { short_id, ..role })
        }),
        (any::<[u32; 4]>(), 1u32..).prop_map(|(n, features)| {
            answered(ReplyBody::MeterFeatures(MeterFeatures {
                max_meter: n[0],
                band_types: n[1],
                capabilities: n[2],
                max_bands: n[3] as u8,
                max_color: 0,
                features,
            }))
        }),
    ]
}

/// The same message in a version's words, as it comes back: a load is set_field in 1.5, and a
/// meter the first action; from 1.4 on a monitor ends by a request, and pauses are replies.
pub fn said_in(version: Version, message: Message) -> Message {
    let later = version >= Version::V1_4;
    match message {
        Message::Error(m) => Message::Error(ErrorMsg {
            error: m.error.for_version(version).from_version(version),
            ..m
        }),
        Message::PacketIn(mut m) if !later => {
            if m.reason as u8 > 2 {
                m.reason = PacketInReason::Action;
            }
            Message::PacketIn(m)
        }
        Message::FlowMonitorCancel(id) if later => {
            asked(RequestBody::FlowMonitor(vec![FlowMonitorRequest {
                id,
                command: MonitorCommand::Delete,
                flags: 0,
                out_port: PortNo::ANY,
                out_group: GroupId::ANY,
                table: TableId::ALL,
                matching: Match::any(),
            }]))
        }
        Message::FlowMonitorPaused if later => {
            answered(ReplyBody::FlowMonitor(vec![FlowUpdate::Paused]))
        }
        Message::FlowMonitorResumed if later => {
            answered(ReplyBody::FlowMonitor(vec![FlowUpdate::Resumed]))
        }
        message if version < Version::V1_5 => message,
        Message::FlowMod(mut m) => {
            in_1_5(&mut m.instructions);
            Message::FlowMod(m)
        }
        Message::GroupMod(mut m) => {
            m.buckets.iter_mut().for_each(|b| actions(&mut b.actions));
            Message::GroupMod(m)
        }
        Message::PacketOut(mut m) => {
            actions(&mut m.actions);
            Message::PacketOut(m)
        }
        Message::BundleAdd(m) => Message::BundleAdd(BundleAdd {
            message: Box::new(said_in(version, *m.message)),
            ..m
        }),
        Message::RequestForward(m) => Message::RequestForward(RequestForward {
            request: Box::new(said_in(version, *m.request)),
            ..m
        }),
        Message::PacketIn2(mut m) => {
            m.continuation.iter_mut().for_each(continued);
            Message::PacketIn2(m)
        }
        Message::Resume(mut m) => {
            m.continuation.iter_mut().for_each(continued);
            Message::Resume(m)
        }
        Message::MultipartReply(mut m) => {
            match &mut m.body {
                ReplyBody::Flow(list) => {
                    list.iter_mut().for_each(|f| in_1_5(&mut f.instructions));
                }
                ReplyBody::FlowMonitor(list) => {
                    for update in list {
                        if let FlowUpdate::Full(full) = update {
                            in_1_5(&mut full.instructions);
                        }
                    }
                }
                ReplyBody::GroupDesc(list) => {
                    let buckets = list.iter_mut().flat_map(|d| &mut d.buckets);
                    buckets.for_each(|b| actions(&mut b.actions));
                }
                _ => {}
            }
            Message::MultipartReply(m)
        }
        other => other,
    }
}

fn continued(state: &mut Continuation) {
    state
        .frames
        .iter_mut()
        .for_each(|f| actions(&mut f.actions));
    actions(&mut state.action_set);
}

fn in_1_5(instructions: &mut Instructions) {
    actions(&mut instructions.apply);
    instructions.write.iter_mut().for_each(|list| actions(list));
    if instructions.meter.is_some() {
        instructions.has_apply = !instructions.apply.is_empty();
    }
}

fn actions(list: &mut [Action]) {
    for action in list {
        match action {
            Action::Load { dst, value } => {
                let width = dst.field.info().slot.ones();
                let mask = (dst.ones() << dst.shift) & width;
                // Bits that the field does not keep have no such word.
                if mask != 0 {
                    *action = Action::SetField {
                        field: dst.field,
                        value: (u128::from(*value) << dst.shift) & width,
                        mask,
                    };
                }
            }
            Action::Clone(inner) => actions(inner),
            Action::Ct(ct) => actions(&mut ct.actions),
            _ => {}
        }
    }
}
