//! Table features, read and set.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::time::Duration;

use net::TableId;
use openflow::model::FlowMod;
use openflow::msg::*;
use openflow::{Instructions, Match, Message, Version};
use twin::Twin;
use twin::controller::Controller;

fn read(c: &mut Controller, wanted: Vec<TableFeatures>) -> Vec<TableFeatures> {
    let parts = c.multipart(RequestBody::TableFeatures(wanted));
    let features = |part| match part {
        ReplyBody::TableFeatures(features) => features,
        other => panic!("{other:?}"),
    };
    parts.into_iter().flat_map(features).collect()
}

#[test]
fn what_was_read_can_be_set_again_with_another_name_and_size_one_table_at_a_time() {
    for version in Version::SUPPORTED {
        let twin = Twin::start(&format!("again-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        let mut all = read(&mut c, Vec::new());
        assert_eq!(all.len(), 254);
        for (at, features) in all.iter().enumerate() {
            assert_eq!(usize::from(features.table.0), at);
            assert_eq!(features.name, "");
        }
        for (table, name) in [(5, "policy"), (253, "output")] {
            all[table].name = name.into();
            all[table].max_entries = 1000;
            let answer = read(&mut c, vec![all[table].clone()]);
            assert_eq!(answer, all, "{version}");
        }
        // Another controller sees it, and takes the name back.
        let mut other = Controller::connect(&twin, *version);
        assert_eq!(read(&mut other, Vec::new()), all, "{version}");
        all[5].name.clear();
        assert_eq!(read(&mut other, vec![all[5].clone()]), all, "{version}");
    }
}

#[test]
fn less_than_everything_may_be_asked_for_but_not_more_and_all_or_nothing_is_set() {
    for version in Version::SUPPORTED {
        let twin = Twin::start(&format!("less-{version}"), &[]);
        let mut c = Controller::connect(&twin, *version);
        let all = read(&mut c, Vec::new());
        let mut less = all[1].clone();
        less.name = "less".into();
        less.matching.as_mut().unwrap().truncate(3);
        less.apply_actions.as_mut().unwrap().truncate(1);
        less.next_tables = Some(vec![TableId(9)]);
        less.write_setfield = None;
        let mut more = all[2].clone();
        more.instructions
            .as_mut()
            .unwrap()
            .push(FeatureInstruction::Experimenter(0x1234));
        let request = |wanted| {
            let body = RequestBody::TableFeatures(wanted);
            Message::MultipartRequest(MultipartRequest { more: false, body })
        };
        let error = openflow::error::OFPTFFC_BAD_ARGUMENT;
        c.refused(&request(vec![less.clone(), more]), error);
        assert_eq!(read(&mut c, Vec::new()), all, "{version}: nothing is set");
        let answer = read(&mut c, vec![less]);
        assert_eq!(answer[1].name, "less", "{version}");
        // It goes on doing everything, and says so.
        assert_eq!(answer[1].matching, all[1].matching, "{version}");
    }
}

#[test]
fn features_and_the_admin_socket_tell_the_sizes_and_names_that_are_in_force() {
    for version in Version::SUPPORTED {
        let twin = Twin::sized(&format!("sized-{version}"), |tables| {
            tables.set_table_size(30);
            tables.set_most_groups(20);
            tables.set_most_meters(10);
        });
        let mut c = Controller::connect(&twin, *version);
        let mut all = read(&mut c, Vec::new());
        assert!(all.iter().all(|table| table.max_entries == 30), "{version}");
        match &c.multipart(RequestBody::GroupFeatures)[..] {
            [ReplyBody::GroupFeatures(features)] => assert_eq!(features.max_groups, [20; 4]),
            other => panic!("{other:?}"),
        }
        match &c.multipart(RequestBody::MeterFeatures)[..] {
            [ReplyBody::MeterFeatures(features)] => assert_eq!(features.max_meter, 10),
            other => panic!("{other:?}"),
        }
        (all[4].name, all[4].max_entries) = ("policy".into(), 7);
        read(&mut c, vec![all[4].clone()]);
        for table in [3, 4] {
            let add = FlowMod::add(TableId(table), 1, Match::any(), Instructions::default());
            c.does(&Message::FlowMod(add));
        }
        let mut admin = admin::Client::connect(&twin.admin, Duration::from_secs(10)).unwrap();
        let Ok(admin::Reply::Tables(tables)) = admin.call(&admin::Request::Tables) else {
            panic!("no tables")
        };
        let told = tables.iter().map(|t| (&*t.name, t.max_entries));
        let told: Vec<_> = told.collect();
        assert_eq!(told, [("3", 30), ("policy", 7)], "{version}");
    }
}
