# shellcheck shell=bash
# What is asked of a cluster with a real API server. Sourced by conformance.sh; each check does something
# with kubectl and with packets, and prints PASS or FAIL with what it saw.

HERE=scripts/conformance/kubernetes
WRONG=0

verdict() { # CLAIM EVIDENCE CONDITION...
  local claim=$1 evidence=$2 word=PASS
  shift 2
  "$@" >/dev/null 2>&1 || word=FAIL WRONG=$((WRONG + 1))
  printf '%s  %-66s %s\n' "$word" "$claim" "$evidence"
}

# probe NAMESPACE.POD|nNODE|leg ARGUMENTS OF probe.py...
probe() {
  local from=$1
  shift
  case $from in *.*) from=pod-$from ;; esac
  in_ns "$from" /usr/bin/python3 $HERE/probe.py "$@"
}
said() { [ -n "$1" ] && ! grep -qE 'none|refused' <<<"$1"; } # everybody answered
silent() { [ -n "$1" ] && ! grep -qvE '^none [0-9]+$' <<<"$1"; }
is() { [ "$1" = "$2" ]; }

running() { # NAMESPACE NUMBER: so many pods are ready, and no other is there
  local of
  of=$(k get pods -n "$1" -o json | jq '[(.items | length), ([.items[].status.conditions[]? | select(.type == "Ready" and .status == "True")] | length)] | @csv' -r)
  [ "$of" = "$2,$2" ]
}

field() { k get -n shop "$1" "$2" -o jsonpath="$3"; }
service_ip() { field service web "{.spec.clusterIPs[$1]}"; }
about() { # KIND NAME: the messages of its Events
  k get events -A --field-selector "involvedObject.kind=$1,involvedObject.name=$2" -o jsonpath='{.items[*].message}'
}

run_checks() {
  say "pods and addresses"
  check_addresses
  say "Services"
  check_services
  say "a VLAN, and a load balancer there"
  check_vlan
  say "policies"
  check_policies
  say "a pod that drains"
  check_drain
  say "what cannot be done"
  check_bad
  say "a controller that starts anew, an API server that goes away, versions that are forgotten"
  check_restart
  check_outage
  check_compaction
  check_two
  say "rights"
  check_rights
  [ "$WRONG" = 0 ]
}

check_addresses() {
  k create namespace shop >/dev/null
  wait_for 30 k get serviceaccount -n shop default
  k create -f $HERE/manifests/shop.yaml >/dev/null || die "manifests/shop.yaml is not accepted"
  verdict "a Deployment's, a StatefulSet's and two plain pods run" "$(date -u +%T)" wait_for 60 running shop 8
  local got
  got=$(field pod db-0 '{.status.podIP}')
  verdict "db-0 has its address of the list" "$got" is "$got" 10.16.9.1
  got=$(k get ips --no-headers | wc -l)
  verdict "an IP object for each pod" "$got" is "$got" 8
  got=$(k get subnet ovn-default -o jsonpath='{.status.v4usingIPs} {.status.v6usingIPs} {.status.conditions[?(@.type=="Ready")].status}')
  verdict "the Subnet counts them and is ready" "$got" wait_for 5 count_is "8 8 True"
  got=$(probe shop.client "tcp:$(field pod db-1 '{.status.podIP}'):5432" "tcp:[$(field pod db-1 '{.status.podIPs[1].ip}')]:5432")
  verdict "a pod reaches a pod, IPv4 and IPv6" "$(xargs <<<"$got")" said "$got"
  k delete pod -n shop db-0 --wait >/dev/null
  wait_for 30 running shop 8
  got=$(field pod db-0 '{.status.podIP}')
  verdict "db-0, deleted and made again, has it again" "$got" is "$got" 10.16.9.1
}
count_is() { [ "$(k get subnet ovn-default -o jsonpath='{.status.v4usingIPs} {.status.v6usingIPs} {.status.conditions[?(@.type=="Ready")].status}')" = "$1" ]; }

check_services() {
  local four six got
  four=$(service_ip 0) six=$(service_ip 1)
  got=$(probe shop.client --count 40 "tcp:$four:80" "tcp:[$six]:80" "udp:$four:53" "udp:[$six]:53" "sctp:$four:2905")
  verdict "TCP, UDP and SCTP, both families, from a pod" "$(wc -w <<<"$got" | awk '{print $1 / 2}') answers of 4 pods" said "$got"
  got=$(probe n1 --count 8 "tcp:$four:80" "tcp:[$six]:80")
  verdict "from a node" "$(xargs <<<"$got")" said "$got"
  got=$(probe ctl --count 8 tcp:192.0.2.11:30080 tcp:192.0.2.12:30080)
  verdict "from outside, by node port, on both nodes" "$(xargs <<<"$got")" said "$got"
  got=$(in_ns pod-shop.client curl -sk -m 5 https://10.96.0.1/version | jq -r .gitVersion)
  verdict "a pod reaches the API server as kubernetes.default" "$got" [ -n "$got" ]
  got=$(field service web '{.status.conditions[?(@.type=="sluice.io/InForce")].status}')
  verdict "the Service says that it is in force" "$got" is "$got" True
}

check_vlan() {
  local got
  k apply -f $HERE/manifests/vlan.yaml >/dev/null || die "manifests/vlan.yaml is not accepted"
  wait_for 30 running shop 9
  got=$(probe leg --peer tcp:10.100.0.7:7000)
  verdict "a machine of the VLAN reaches the pod at its fixed address" "$got" is "$got" "ledger $LEGACY_IP 1"
  got=$(ip -n "$PREFIX-leg" neigh show 10.100.0.7 | grep -o 'lladdr [^ ]*')
  verdict "which has the MAC it asked for" "$got" is "$got" "lladdr 02:00:0a:64:00:07"
  wait_for 10 balanced
  got=$(field service shop '{.status.loadBalancer.ingress[0].ip}')
  verdict "the load balancer has an address of the pool" "$got" balanced
  got=$(probe leg --count 8 --peer "tcp:$got:80")
  verdict "where the machine is served, and seen as itself" "$(xargs <<<"$got")" as_itself "$got"
  k delete -f $HERE/manifests/vlan.yaml --wait=false >/dev/null
  wait_for 40 running shop 8
}
balanced() { [[ $(field service shop '{.status.loadBalancer.ingress[0].ip}') == 10.100.0.5[0-9] ]]; }
as_itself() { said "$1" && grep -q "$LEGACY_IP" <<<"$1"; }

check_policies() {
  local four got
  four=$(service_ip 0)
  k apply -f $HERE/manifests/policy.yaml >/dev/null
  wait_for 10 in_force default-deny && wait_for 10 in_force web-from-clients
  got=$(probe shop.client --count 4 "tcp:$four:80")
  verdict "the client reaches the port by its name" "$got" said "$got"
  got=$(probe shop.client "udp:$four:53" && probe shop.other "tcp:$four:80" "tcp:10.16.9.2:5432")
  verdict "other ports, other pods and other servers are closed" "$(xargs <<<"$got")" silent "$got"
  got=$(probe n2 "tcp:$(field pod other '{.status.podIP}'):1")
  verdict "a pod's node passes always" "$got" is "$got" "refused 1"
  k delete -f $HERE/manifests/policy.yaml >/dev/null
  sleep 1
  got=$(probe shop.other "tcp:$four:80" "tcp:10.16.9.2:5432")
  verdict "the policies are deleted: open again" "$(xargs <<<"$got")" said "$got"
}
in_force() { [[ $(field networkpolicy "$1" '{.metadata.annotations.sluice\.io/in-force}') == true* ]]; }

check_drain() {
  local pod got four
  four=$(service_ip 0)
  probe shop.client --held 5 "tcp:$four:80" >"$RUN/held" &
  wait_for 5 test -s "$RUN/held"
  pod=$(head -n 1 "$RUN/held")
  k delete pod -n shop "$pod" --wait=false >/dev/null
  wait_for 5 drained "$pod"
  verdict "the condition sluice.io/drained says so" "$(field pod "$pod" "$DRAINED")" drained "$pod"
  got=$(probe shop.client --count 60 "tcp:$four:80")
  verdict "60 new connections: none to $pod, none lost" "$got" others_only "$got" "$pod"
  wait $!
  got=$(sort "$RUN/held" | uniq -c | xargs)
  verdict "the connection it had goes on" "$got" is "$(sort -u "$RUN/held")" "$pod"
  verdict "another takes its place" "" wait_for 30 running shop 8
}
DRAINED='{.status.conditions[?(@.type=="sluice.io/drained")].reason}'
drained() { [ "$(field pod "$1" "$DRAINED")" = Drained ]; }
others_only() { said "$1" && [[ $1 != *$2* ]]; }

check_bad() {
  local one kind name word before got
  before=$(probe shop.client "tcp:$(service_ip 0):80")
  k apply -f $HERE/manifests/bad.yaml >/dev/null || die "manifests/bad.yaml is not accepted"
  sleep 3
  for one in Pod/taken/10.16.9.1 Pod/outside/192.168.3.4 Pod/second-net/attachnet Subnet/overlaps/ovn-default \
    Subnet/broken/cidrBlock Vip/nowhere/no-such-subnet IPPool/outside/ovn-default NetworkPolicy/no-such-port/no-such-port \
    Service/misspelt/strictest; do
    IFS=/ read -r kind name word <<<"$one"
    got=$(about "$kind" "$name")
    verdict "$kind $name: an Event names $word" "${got:0:90}" grep -q "$word" <<<"$got"
  done
  got=$(probe shop.client "tcp:$(service_ip 0):80")
  verdict "and the others go on" "$got" said "$got"
  k delete -f $HERE/manifests/bad.yaml --wait=false >/dev/null
  [ -n "$before" ] && wait_for 30 running shop 8
}

# Versions of everything we write on; Nodes are written by their kubelets every few seconds.
versions() {
  k get pods,services,subnets,ips,vips,ippools,vlans,provider-networks,networkpolicies,namespaces -A -o json |
    jq -r '.items[] | [.kind, .metadata.namespace, .metadata.name, .metadata.resourceVersion] | @tsv' | sort
}
remember() {
  versions >"$RUN/versions"
  local n
  for n in 1 2; do ctl "$n" --json dump-flows >"$RUN/flows$n"; done
}
unchanged() { # CLAIM
  local n got
  got=$(versions | diff "$RUN/versions" - | sed -n 's/^> //p' | tr '\t' ' ' | head -n 3)
  verdict "$1: nothing is written" "${got:-of $(wc -l <"$RUN/versions") objects}" [ -z "$got" ]
  for n in 1 2; do
    ctl "$n" --json dump-flows >"$RUN/flows-now"
    got=$(/usr/bin/python3 scripts/demo/same_flows.py "$RUN/flows$n" "$RUN/flows-now" 2>/dev/null)
    verdict "$1: node$n keeps its flows" "$got" is "${got##*, }" "0 renewed"
  done
}
leads() { grep -q 'this controller leads' <(tail -n "+$((${2:-0} + 1))" "$LOGS/controller$1.log"); }
lines() { wc -l <"$LOGS/controller$1.log"; }

check_restart() {
  local from
  remember
  from=$(lines 1)
  end -KILL controller1
  controller_start 1
  wait_for 40 leads 1 "$from" || note "it does not lead"
  sleep 3
  unchanged "killed and started"
}

check_outage() {
  local got
  remember
  service_ip 0 >"$RUN/four"
  start pings ip netns exec "$PREFIX-pod-shop.client" ping -q -i 0.02 -W 1 -c 1000 10.16.9.2
  end -KILL apiserver
  AWAY=$(date +%s)
  sleep 12
  got=$(probe shop.client --count 10 "tcp:$(cat "$RUN/four"):80")
  verdict "without an API server a Service answers" "$got" said "$got"
  apiserver_start
  wait_for 60 k get --raw /readyz || die "kube-apiserver did not come back"
  BACK=$(($(date +%s) + 2))
  wait_for 30 ended pings
  got=$(grep -o '[0-9]* received' "$LOGS/pings.log")
  verdict "1000 pings meanwhile" "$got" is "$got" "1000 received"
  sleep 8
  unchanged "the API server is back"
  k scale -n shop deployment/web --replicas 5 >/dev/null
  verdict "a pod made after that runs" "" wait_for 90 running shop 9
}
ended() { ! pid_of "$1"; }

# The server forgets what is older than some seconds (--etcd-compaction-interval); a controller that
# slept longer is told 410 and lists again.
check_compaction() {
  local pid
  pid=$(pid_of controller1)
  kill -STOP "$pid"
  k scale -n shop deployment/web --replicas 4 >/dev/null
  sleep 25
  kill -CONT "$pid"
  verdict "a controller that slept over a compaction catches up" "" wait_for 60 caught_up
}
caught_up() { running shop 8 && [ "$(k get ips --no-headers | wc -l)" = 8 ]; }

check_two() {
  local from
  controller_start 2
  sleep 3
  remember
  from=$(lines 2)
  end -TERM controller1
  verdict "a second controller takes over when the first ends" "" wait_for 40 leads 2 "$from"
  sleep 3
  unchanged "taken over"
}

# What the ServiceAccounts of deploy/kubernetes were refused, and what the server warned of. A server
# that starts knows of no rights in its first second.
check_rights() {
  local got
  got=$(jq -r --argjson away "$AWAY" --argjson back "$BACK" 'select(.responseStatus.code == 403)
    | select(.requestReceivedTimestamp | sub("[.][0-9]*Z"; "Z") | fromdate | . < $away or . > $back)
    | .verb + " " + .requestURI' "$LOGS/audit.json" | sort | uniq -c | head -n 3)
  verdict "nothing was forbidden" "${got:-of $(wc -l <"$LOGS/audit.json") requests}" [ -z "$got" ]
  got=$(jq -r 'select(.responseStatus.code == 400 or .responseStatus.code == 422) | .verb + " " + .requestURI + " " + .responseStatus.message' "$LOGS/audit.json" | sort | uniq -c | head -n 3)
  verdict "nothing was malformed" "$got" [ -z "$got" ]
  got=$(jq -r 'select(.annotations["k8s.io/deprecated"] == "true") | .requestURI' "$LOGS/audit.json" | sort | uniq -c | head -n 3)
  verdict "nothing is deprecated" "$got" [ -z "$got" ]
  got=$(grep -cE 'panicked|cannot be written' "$LOGS"/controller*.log | awk -F: '{n += $2} END {print n + 0}')
  verdict "no controller panicked, or could not write" "$got" is "$got" 0
}
