//! The program against a controller's socket: what it asks, what it prints, how it ends.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Runs the program; a controller gives it this answer, if it asks. Gives the exit status, what was
/// printed, what was said of a failure, and what the controller was asked.
fn run(args: &[&str], answer: &str) -> (Option<i32>, String, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("controller.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = format!("{answer}\n");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(stream);
        lines.read_line(&mut line).unwrap();
        lines.get_mut().write_all(answer.as_bytes()).unwrap();
        line.trim().to_owned()
    });
    let ran = against(&socket, args);
    // A program that has asked nothing leaves the server waiting.
    drop(std::os::unix::net::UnixStream::connect(&socket));
    let asked = server.join().unwrap();
    (ran.0, ran.1, ran.2, asked)
}

fn against(socket: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sluicectl"))
        .args(args)
        .arg("--controller")
        .arg(socket)
        .args(["--admin", "/nonexistent/admin.sock"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

const PODS: &str = r#"{"pods":[
{"namespace":"bank","name":"web-1","node":"node1","subnet":"apps","addresses":["10.16.0.2"],"mac":"02:5c:0a:10:00:02","port":"slx","port_there":true,"in_force":{"state":"in_force"},"ingress_policies":["NetworkPolicy bank/web"],"egress_policies":[],"problems":[]},
{"namespace":"bank","name":"far","node":"node2","subnet":"apps","addresses":["10.16.0.4"],"mac":"","port":"sly","port_there":null,"in_force":{"state":"pending","nodes":1,"example":"node2 (not connected)"},"ingress_policies":[],"egress_policies":[],"problems":[]},
{"namespace":"bank","name":"lost","node":"","subnet":"","addresses":[],"mac":"","port":"","port_there":null,"in_force":{"state":"waiting","why":"a node"},"ingress_policies":[],"egress_policies":[],"problems":["spec: x; y"]}]}"#;

#[test]
fn pods_are_a_table_with_problems_below_and_json_is_what_the_controller_said() {
    let answer = PODS.replace('\n', "");
    let (status, out, _, asked) = run(&["get", "po", "-n", "bank", "--node", "node1"], &answer);
    assert_eq!(status, Some(0));
    assert_eq!(
        asked,
        r#"{"request":"pods","namespace":"bank","node":"node1"}"#
    );
    assert_eq!(
        out,
        "NAMESPACE  NAME   NODE   ADDRESSES  SUBNET  STATE\n\
         bank       web-1  node1  10.16.0.2  apps    in force\n\
         bank       far    node2  10.16.0.4  apps    pending on node2 (not connected)\n\
         bank       lost   -      -          -       waiting for a node\n\
         Pod bank/lost: spec: x; y\n"
    );
    let (_, out, _, _) = run(&["get", "pods", "-o", "json"], &answer);
    let printed: serde_json::Value = serde_json::from_str(&out).unwrap();
    let said: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(printed, said["pods"]);
}

#[test]
fn a_trace_tells_what_decided_and_an_explanation_what_to_do() {
    let step = |table: &str, priority: u16, object: &str, intent: &str| {
        format!(
            r#"{{"node":"node1","table":"{table}","priority":{priority},"object":"{object}","intent":"{intent}","matching":"m","does":"d"}}"#
        )
    };
    let steps = [
        step("Classify", 200, "Pod bank/a", "From a pod."),
        step("Edge", 0, "Pipeline Edge", "Goes on."),
        step(
            "IngressRule",
            32000,
            "NetworkPolicy bank/web isolation",
            "No rule allows it.",
        ),
    ];
    let answer = format!(
        r#"{{"trace":{{"from":"Pod bank/a on node1","to":"Pod bank/web on node1 port 80 TCP","packet":"TCP 10.16.0.3:40000 -> 10.16.0.2:80","delivered":false,"verdict":"dropped","paths":[{{"steps":[{}],"ends":[{{"end":"dropped","node":"node1","table":"IngressRule","object":"NetworkPolicy bank/web isolation","why":"No rule allows it."}}],"ingress_rule":"NetworkPolicy bank/web isolation"}}]}}}}"#,
        steps.join(",")
    );
    let (status, out, _, asked) = run(
        &["trace", "bank/a", "bank/web:80", "--source-port", "7"],
        &answer,
    );
    assert_eq!(status, Some(0));
    assert_eq!(
        asked,
        r#"{"request":"trace","from":"bank/a","to":"bank/web:80","source_port":7}"#
    );
    assert!(!out.contains("Edge"), "{out}");
    let decided = "  ingress decided by NetworkPolicy bank/web isolation\n  dropped on node1, in IngressRule, by \
                   NetworkPolicy bank/web isolation: No rule allows it.\n";
    assert!(out.ends_with(decided), "{out}");
    let (_, out, _, _) = run(&["trace", "bank/a", "bank/web:80", "-o", "wide"], &answer);
    assert!(out.contains("Edge") && out.contains("MATCHES"), "{out}");
    let (status, out, _, _) = run(&["explain", "drop", "bank/a", "bank/web:80"], &answer);
    assert_eq!(status, Some(0));
    assert!(
        out.contains("what to do: let a rule of NetworkPolicy bank/web, or of another policy"),
        "{out}"
    );
}

#[test]
fn a_difference_is_exit_status_1_and_so_is_a_refusal_on_the_other_stream() {
    let same = r#"{"diff":[{"node":"node1","unknown":null,"same":70,"differences":[]}]}"#;
    let (status, out, err, asked) = run(&["diff", "node1"], same);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert_eq!(asked, r#"{"request":"diff","node":"node1"}"#);
    assert_eq!(out, "node1: as it shall be (70 flows, groups and meters)\n");
    let other = r#"{"diff":[{"node":"node1","unknown":null,"same":69,"differences":[{"how":"different","what":"flow","object":"Pod bank/a","intent":"To the pod.","desired":"Output 100 x -> output:3","held":"Output 100 x -> drop"}]},{"node":"node2","unknown":"its switch is not connected","same":0,"differences":[]}]}"#;
    let (status, out, err, _) = run(&["diff"], other);
    assert_eq!((status, err.as_str()), (Some(1), ""));
    assert_eq!(
        out,
        "node1: 69 as they shall be, 0 missing, 1 different, 0 extra\n\n  different flow, Pod bank/a: To the \
         pod.\n    - Output 100 x -> drop\n    + Output 100 x -> output:3\nnode2: not known: its switch is not \
         connected\n"
    );
    let (status, out, err, _) = run(&["get", "pods", "x"], r#"{"error":"no pod x; y is near"}"#);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert_eq!(err, "sluicectl: no pod x; y is near\n");
}

#[test]
fn what_needs_no_controller_asks_none_and_one_that_is_not_there_is_told() {
    let nowhere = Path::new("/nonexistent/controller.sock");
    let (status, out, _) = against(nowhere, &["explain", "drop", "meter"]);
    assert_eq!(status, Some(0));
    assert!(
        out.starts_with("meter: A rate is exceeded") && out.contains("what to do: "),
        "{out}"
    );
    let (status, _, err) = against(nowhere, &["get", "nodes"]);
    assert_eq!((status, err.lines().count()), (Some(1), 1));
    assert!(
        err.contains("cannot reach the controller at /nonexistent/controller.sock"),
        "{err}"
    );
    let (status, _, err) = against(nowhere, &["trace", "in_port=1,ip"]);
    assert_eq!((status, err.lines().count()), (Some(2), 1));
    assert!(err.contains("say who sends and who is meant"), "{err}");
}
