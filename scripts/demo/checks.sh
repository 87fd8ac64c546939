# shellcheck shell=bash
# What the demo shows: each check does something with real tools and prints PASS or FAIL with the
# evidence. Sourced by demo.sh.

PASSED=0
FAILED=0

# verdict "what is claimed" "evidence" CONDITION...: the condition is a command.
verdict() {
  local claim=$1 evidence=$2 word
  shift 2
  if "$@" >/dev/null 2>&1; then
    word=PASS PASSED=$((PASSED + 1))
  else
    word=FAIL FAILED=$((FAILED + 1))
  fi
  printf '%s  %-62s %s\n' "$word" "$claim" "$evidence"
}

run_checks() {
  say "a. pod to pod"
  check_overlay
  say "b. a pod on VLAN 100 and the legacy server"
  check_underlay
  say "c. a Service"
  check_service
  say "d. both families, and clients that stay where they are"
  check_dual_stack
  say "e. a policy"
  check_policy
  say "f. a pod that drains"
  check_drain
  say "g. bandwidth"
  check_bandwidth
  say "h. spoofing"
  check_spoofing
  say "i. without the controller"
  check_controller_restart
  say "j. the nodes themselves, and the world outside"
  check_edge
  say "k. other tools"
  check_tools
  printf '\n%s passed, %s failed\n' "$PASSED" "$FAILED"
  [ "$FAILED" = 0 ]
}

# capture NAME NAMESPACE INTERFACE [FILTER...]: until capture_end NAME; the file is $RUN/capture/NAME.pcap.
capture() {
  local name=$1 ns=$2 interface=$3
  shift 3
  start "capture-$name" timeout 120 ip netns exec "$ns" \
    tcpdump -U -n -i "$interface" -w "$RUN/capture/$name.pcap" "$@"
  wait_for 5 grep -q 'listening on' "$LOGS/capture-$name.log" || note "the capture $name did not start"
}

capture_end() {
  sleep 0.3 # what is on its way
  end -INT "capture-$1"
}

packets_in() { tcpdump -nr "$RUN/capture/$1.pcap" "${@:2}" 2>/dev/null | wc -l; }

# pings FROM_POD ADDRESS [COUNT]: prints "RECEIVED/SENT, AVERAGE ms".
pings() { ping_summary in_pod "$1" timeout 30 ping -q -i 0.05 -W 1 -c "${3:-20}" "$2"; }

ping_summary() {
  "$@" 2>/dev/null | awk '/packets transmitted/ {sent=$1; got=$4}
    /^rtt/ {split($4, t, "/"); avg=", " t[2] " ms"} END {print (got+0) "/" (sent+0) avg}' || true
}

all_of() { [[ $1 == "$2/$2"* ]]; }

check_overlay() {
  local near far vnis
  near=$(pings teller-1 "$(pod_ip teller-3)")
  verdict "ping teller-1 -> teller-3, both on node1" "$near" all_of "$near" 20
  capture overlay sluice-fab port-n1
  far=$(pings teller-1 "$(pod_ip teller-2)")
  capture_end overlay
  verdict "ping teller-1 -> teller-2, node1 to node2" "$far" all_of "$far" 20
  vnis=$(tcpdump -nr "$RUN/capture/overlay.pcap" udp port 6081 2>/dev/null | grep -o 'vni 0x[0-9a-f]*' | sort | uniq -c | xargs)
  verdict "the fabric carried Geneve with VNI 4096 (0x1000) only" "${vnis:-no Geneve}" \
    grep -qxE '[0-9]+ vni 0x1000' <<<"$vnis"
}

check_underlay() {
  local there back tags mac
  capture underlay sluice-fab port-n1
  there=$(pings ledger "$LEGACY_IP")
  back=$(ping_summary in_ns leg timeout 30 ping -q -i 0.05 -W 1 -c 20 10.100.0.7)
  capture_end underlay
  verdict "ping ledger -> legacy server" "$there" all_of "$there" 20
  verdict "ping legacy server -> ledger at its fixed 10.100.0.7" "$back" all_of "$back" 20
  mac=$(ip -n sluice-leg neigh show 10.100.0.7 | grep -o 'lladdr [^ ]*' || true)
  verdict "the legacy server sees the annotated MAC" "${mac:-none}" [ "$mac" = "lladdr 02:00:0a:64:00:07" ]
  tags=$(tcpdump -enr "$RUN/capture/underlay.pcap" 'not (udp port 6081) and not (arp and net 172.30.0.0/24)' 2>/dev/null |
    awk '{tag = match($0, /vlan [0-9]+/) ? substr($0, RSTART, RLENGTH) : "untagged"; n[tag]++}
      END {for (t in n) printf "%s: %d frames  ", t, n[t]}')
  verdict "the wire carried 802.1Q tag 100 and no other" "${tags:-nothing}" grep -qxE 'vlan 100: [0-9]+ frames *' <<<"$tags"
}

check_service() {
  local answers others all=400
  capture service sluice-pod-teller-1 eth0 'tcp'
  answers=$(ask teller-1 http "$SERVICE_IP" 80 $all)
  capture_end service
  verdict "$all requests to $SERVICE_IP, four backends, each 100 +- 30 %" "${answers:-no answer}" even "$answers"
  others=$(packets_in service "src host not $(pod_ip teller-1) and src host not $SERVICE_IP")
  verdict "every reply came from the Service's address" \
    "$(packets_in service "src host $SERVICE_IP") packets from it, $others from others" [ "$others" = 0 ]
  answers=$(ask teller-1 udp "$UDP_SERVICE_IP" 5000 100)
  verdict "100 UDP requests to $UDP_SERVICE_IP, answered from it" "$answers" all_answered "$answers"
  answers=$(ask teller-2 http "$SERVICE_IP" 80 40)
  verdict "a second client, on node2" "$answers" all_answered "$answers"
}

# ask FROM_POD http|udp ADDRESS PORT COUNT: prints who answered how often.
ask() {
  local from=$1
  shift
  in_pod "$from" timeout 60 /usr/bin/python3 scripts/demo/client.py "$@" || true
}

all_answered() { [ -n "$1" ] && [[ $1 != *failed* ]]; }

even() {
  [ "$(wc -w <<<"$1")" = 8 ] && [[ $1 != *failed* ]] &&
    tr ' ' '\n' <<<"$1" | awk 'NR % 2 == 0 && ($1 < 70 || $1 > 130) {bad = 1} END {exit bad}'
}

check_dual_stack() {
  local got ip answers
  got=$(pings trader "$(pod_ip6 rates-2)")
  verdict "ping over IPv6, trader on node1 -> rates-2 on node2" "$got" all_of "$got" 20
  for ip in "${DUAL_SERVICE_IPS[@]}"; do
    answers=$(ask trader http "$ip" 80 30)
    verdict "30 requests to $ip: one client, one pod" "${answers:-no answer}" one_of_them "$answers" 30
  done
}

one_of_them() { grep -qxE "rates-[12] $2" <<<"$1"; }

# Two pods ask the same Service, before, with and after a NetworkPolicy.
check_policy() {
  local allowed denied rule
  denied=$(ask batch-out http "$SERVICE_IP" 80 8)
  verdict "without a policy batch-out reaches the Service" "$denied" all_answered "$denied"
  cat >"$RUN/manifests/policy.yaml" <<END
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-tellers, namespace: bank}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {role: teller}}}]
      ports: [{protocol: TCP, port: http}]
END
  sleep 1.5
  note "policy.yaml: to app=web from role=teller only, TCP, the port called http"
  allowed=$(ask teller-1 http "$SERVICE_IP" 80 20)
  verdict "a teller reaches it still" "$allowed" all_answered "$allowed"
  denied=$(ask batch-out http "$SERVICE_IP" 80 2)
  verdict "batch-out does not" "$denied" [ "$denied" = "failed 2" ]
  denied=$(ask teller-1 udp "$UDP_SERVICE_IP" 5000 2)
  verdict "nor does a teller by UDP" "$denied" [ "$denied" = "failed 2" ]
  rule=$(ctl 1 dump-flows | grep -c 'NetworkPolicy bank/only-tellers') || true
  verdict "node1's flows name the policy" "$rule flows" [ "$rule" -gt 0 ]
  rm "$RUN/manifests/policy.yaml"
  sleep 1.5
  denied=$(ask batch-out http "$SERVICE_IP" 80 8)
  verdict "the policy is deleted: batch-out reaches it again" "$denied" all_answered "$denied"
}

# A pod is being deleted while a client has a connection to it.
check_drain() {
  local pod answers held
  start held timeout 30 ip netns exec sluice-pod-teller-1 \
    /usr/bin/python3 scripts/demo/client.py held "$SERVICE_IP" 80 24
  wait_for 5 test -s "$LOGS/held.log" || note "no connection"
  pod=$(head -n 1 "$LOGS/held.log")
  sed -i "/^  name: $pod\$/a\\  deletionTimestamp: \"2026-01-01T00:00:00Z\"" "$RUN/manifests/web.yaml"
  sleep 1.5
  note "$pod is being deleted"
  answers=$(ask teller-1 http "$SERVICE_IP" 80 200)
  verdict "200 new connections: none to $pod, none fails" "$answers" drained "$answers" "$pod"
  wait_for 15 ended held || note "the held connection did not end"
  held=$(sort "$LOGS/held.log" | uniq -c | xargs)
  verdict "the connection to $pod goes on" "$held" [ "$held" = "24 $pod" ]
  sed -i '/deletionTimestamp/d' "$RUN/manifests/web.yaml"
  sleep 1.5
  answers=$(ask teller-1 http "$SERVICE_IP" 80 200)
  verdict "$pod is back: it gets connections again" "$answers" grep -q "$pod " <<<"$answers"
}

drained() { all_answered "$1" && [[ $1 != *$2* ]]; }

# rate FROM TO tcp|udp MBITS|max SECONDS: what the receiver got, Mbit/s. The first 2 s, in which the
# burst is used up, are left out. The server's own count is taken: the client's mixes them in.
rate() {
  local from=$1 to=$2 kind=$3 offered=$4 seconds=$5 port options=() log
  port=$((5200 + RANDOM % 2000))
  log=$LOGS/iperf-$port.log
  rm -f "$log"
  start "iperf-$port" nice -n -10 timeout $((seconds + 20)) ip netns exec "sluice-pod-$to" iperf3 -s -1 -J -p "$port"
  wait_for 5 listens "$to" "$port" || true
  # The largest datagram that fits the overlay's MTU of 1400; sockets that stand a pause.
  if [ "$kind" = tcp ]; then options=(-P 4); else options=(-u -l 1372 -w 1M); fi
  [ "$offered" = max ] || options+=(-b "${offered}M")
  in_pod "$from" nice -n -10 timeout $((seconds + 15)) \
    iperf3 -c "$(pod_ip "$to")" -p "$port" -t "$seconds" -O 2 "${options[@]}" >"$log.client" 2>&1 || true
  wait_for 5 ended "iperf-$port" || true
  jq -r '.end.sum_received.bits_per_second / 1e6 * 10 | round / 10' "$log" 2>/dev/null || echo 0
}

listens() { in_pod "$1" ss -Hltn "sport = :$2" | grep -q .; }

# The limits count frames, iperf3 counts what is in them: here 1372 of a UDP frame's 1414 bytes, and 1348
# of a TCP frame's unless it was sent as a large one. Evidence gives both; one of them must fit.
with_headers() { # tcp|udp MBITS
  awk -v got="$2" -v data="$([ "$1" = tcp ] && echo 1348 || echo 1372)" 'BEGIN {printf "%.1f", got * 1414 / data}'
}

fits() { either_within "$3" "$(with_headers "$1" "$3")" "$2" 5; } # tcp|udp LIMIT MEASURED

# rate_at LIMIT ARGUMENTS OF rate...: measures again, at most twice, if it does not fit, because a
# machine busy with something else slows TCP down below any limit.
rate_at() {
  local limit=$1 got again
  shift
  got=$(rate "$@")
  for again in "once more" "a last time"; do
    fits "$3" "$limit" "$got" && break
    note "$3 from $1 to $2: $got Mbit/s, $again" >&2
    got=$(rate "$@")
  done
  echo "$got"
}

limited() { # CLAIM tcp|udp LIMIT MEASURED
  verdict "$1" "$4 Mbit/s of data, $(with_headers "$2" "$4") with headers" fits "$2" "$3" "$4"
}

either_within() { within "$1" "$3" "$4" || within "$2" "$3" "$4"; }
within() { awk -v got="${1:-0}" -v want="$2" -v percent="$3" 'BEGIN {exit !(got >= want * (1 - percent / 100) && got <= want * (1 + percent / 100))}'; }
at_least() { awk -v got="${1:-0}" -v least="$2" 'BEGIN {exit !(got >= least)}'; }

check_bandwidth() {
  local limit=50 got beside
  for limit in 50 100; do
    if [ "$limit" = 100 ]; then
      sed -i 's/_rate: "50"/_rate: "100"/' "$RUN/manifests/clients.yaml"
      sleep 1.5
      note "clients.yaml changed to 100 Mbit/s while everything runs"
    fi
    got=$(rate_at $limit batch-out teller-2 udp $((limit * 3 / 2)) 6)
    limited "egress_rate $limit: UDP from batch-out to the other node" udp $limit "$got"
    got=$(rate_at $limit batch-out teller-2 tcp max 8)
    limited "egress_rate $limit: TCP from batch-out to the other node" tcp $limit "$got"
    got=$(rate_at $limit teller-3 batch-in udp $((limit * 3 / 2)) 6)
    limited "ingress_rate $limit: UDP to batch-in" udp $limit "$got"
    # Another pod of the same node, at the same time.
    rate teller-1 teller-3 udp 120 8 >"$RUN/beside" &
    got=$(rate_at $limit teller-2 batch-in tcp max 8)
    wait $! || true
    beside=$(cat "$RUN/beside")
    limited "ingress_rate $limit: TCP to batch-in from the other node" tcp $limit "$got"
    verdict "meanwhile teller-3 receives 120 Mbit/s unaffected" "$beside Mbit/s" at_least "$beside" 114
  done
}

dropped_on() { ctl "$1" --json drops | jq -r --arg reason "$2" '[.[] | select(.reason == $reason) | .packets] | add // 0'; }

check_spoofing() {
  local stolen before after got seen line
  stolen=$(pod_ip teller-3)
  before=$(dropped_on 1 rule)
  capture spoof sluice-pod-teller-2 eth0 "src host $stolen"
  in_pod teller-1 ping -c 1 -W 1 "$(pod_ip teller-2)" >/dev/null 2>&1 || true
  ip -n sluice-pod-teller-1 addr add "$stolen/32" dev eth0
  got=$(ping_summary in_pod teller-1 timeout 20 ping -q -I "$stolen" -i 0.05 -W 1 -c 20 "$(pod_ip teller-2)")
  ip -n sluice-pod-teller-1 addr del "$stolen/32" dev eth0
  capture_end spoof
  after=$(dropped_on 1 rule)
  seen=$(packets_in spoof)
  verdict "teller-1 pings with teller-3's address: no reply" "$got" [ "${got%%/*}" = 0 ]
  verdict "teller-2 got none of it" "$seen packets" [ "$seen" = 0 ]
  line=$(ctl 1 drops | awk '$2 == "rule" {$1 = $2 = ""; print}' | xargs)
  verdict "node1 counted the drops with their reason" "rule: $before -> $after (${line:-no line})" [ $((after - before)) -ge 20 ]
  # Table 10 is the spoof guard.
  line=$(ctl 1 drops | awk '$2 == 10 && $4 == "bank/teller-1" {n += $1; who = $3 " " $4} END {if (n) print n " by the spoof guard of " who}')
  verdict "and named whose spoof guard dropped them" "${line:-no line}" [ "${line%% *}" -ge 20 ]
}

# Ten seconds at 100 pings/s; the controller is away from the second to the fifth.
check_controller_restart() {
  local outage=10 verdicts path node
  ctl 1 --json dump-flows >"$RUN/flows-before-1"
  ctl 2 --json dump-flows >"$RUN/flows-before-2"
  start ping-overlay timeout 30 ip netns exec sluice-pod-teller-1 ping -q -i 0.01 -W 1 -c $((outage * 100)) "$(pod_ip teller-2)"
  start ping-underlay timeout 30 ip netns exec sluice-pod-ledger ping -q -i 0.01 -W 1 -c $((outage * 100)) "$LEGACY_IP"
  sleep 1
  end -KILL controller
  note "controller killed"
  sleep 3
  verdicts=$(ask teller-1 http "$SERVICE_IP" 80 20)
  verdict "the Service answers meanwhile, to new clients" "$verdicts" all_answered "$verdicts"
  controller_start
  for node in 1 2; do
    wait_for 15 connected "$node" || note "node$node did not reconnect"
  done
  note "controller started again"
  for path in overlay underlay; do
    wait_for 20 ended "ping-$path" || note "the pings over the $path did not end"
  done
  for path in overlay underlay; do
    verdicts=$(ping_summary cat "$LOGS/ping-$path.log")
    verdict "1000 pings at 100/s over the $path, none lost" "$verdicts" all_of "$verdicts" $((outage * 100))
  done
  sleep 1
  for node in 1 2; do
    ctl "$node" --json dump-flows >"$RUN/flows-after-$node"
    verdicts=$(/usr/bin/python3 scripts/demo/same_flows.py "$RUN/flows-before-$node" "$RUN/flows-after-$node")
    verdict "node$node: no flow was removed and added again" "$verdicts" [ "${verdicts##*, }" = "0 renewed" ]
  done
}

ended() { ! pid_of "$1"; }

# The node's kernel is the host of sluice0, the namespace of the controller is outside, and the legacy
# server is a client of a load balancer's address.
check_edge() {
  local node got answers sources
  cat >"$RUN/manifests/front.yaml" <<END
apiVersion: v1
kind: Service
metadata: {name: front, namespace: bank}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.20
  loadBalancerIP: 10.100.0.240
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: idle, namespace: bank}
spec:
  clusterIP: 10.96.0.21
  selector: {app: nobody}
  ports: [{port: 80}]
END
  sed -i -e '/name: bank-legacy/a\  annotations: {sluice.io/lb-pool: 10.100.0.240..10.100.0.250}' \
    -e '/cidrBlock: 10.16.0.0/a\  natOutgoing: true' "$RUN/manifests/network.yaml"
  for node in 1 2; do
    in_ns "n$node" scripts/host-network.sh up --node-ip "192.0.2.1$node" --cidrs 10.16.0.0/16,10.96.0.0/16
  done
  sleep 1.5
  note "front.yaml: a node port and a load balancer; network.yaml: a pool for it, and natOutgoing"
  got=$(ping_summary in_ns n1 timeout 30 ping -q -i 0.05 -W 1 -c 20 "$(pod_ip web-2)")
  verdict "ping node1 -> web-2 on node2, as a probe does" "$got" all_of "$got" 20
  answers=$(ask_from n1 http "$SERVICE_IP" 80 40)
  verdict "node1 itself asks the Service's cluster IP" "$answers" all_answered "$answers"
  got=$(pings teller-2 192.0.2.12)
  verdict "ping teller-2 -> its own node" "$got" all_of "$got" 20
  capture outside sluice-ctl mgmt 'icmp[icmptype] == icmp-echo'
  got=$(pings teller-1 192.0.2.1)
  capture_end outside
  sources=$(tcpdump -nr "$RUN/capture/outside.pcap" 2>/dev/null | awk '{print $3}' | sort -u | xargs)
  verdict "ping teller-1 -> a machine outside, which sees node1" "$got from ${sources:-nobody}" \
    outside_saw "$got" "$sources" 192.0.2.11
  answers=$(ask_from ctl http 192.0.2.11 30080 40)
  verdict "from outside by node port 30080 of node1, to both nodes" "$answers" all_answered "$answers"
  answers=$(ask_from leg http 10.100.0.240 80 40)
  got=$(ip -n sluice-leg neigh show 10.100.0.240 | grep -o 'lladdr [^ ]*' || true)
  verdict "the legacy server by the load balancer's address" "$answers, ${got:-no ARP answer}" all_answered "$answers"
  got=0
  in_pod teller-1 curl -s -m 3 http://10.96.0.21/ || got=$?
  verdict "a Service without endpoints refuses at once" "curl: exit status $got (7: refused, 28: silence)" [ "$got" = 7 ]
}

outside_saw() { all_of "$1" 20 && [ "$2" = "$3" ]; }

# ask_from NAMESPACE http|udp ADDRESS PORT COUNT: as `ask`, from a machine.
ask_from() {
  local from=$1
  shift
  in_ns "$from" timeout 60 /usr/bin/python3 scripts/demo/client.py "$@" || true
}

# A flow's line without what changes by itself, and without our comment.
flow_parts() {
  sed -E 's/  # .*$//; s/^ +//; s/ (duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*,//g' | grep 'actions=' | sort
}

check_tools() {
  local node ours theirs over target errors
  for node in 1 2; do
    target=unix:$RUN/node$node/br.mgmt
    ctl "$node" dump-flows | flow_parts >"$RUN/ours"
    timeout 20 ovs-ofctl -O OpenFlow13 dump-flows "$target" | flow_parts >"$RUN/theirs" || true
    "$BIN/sluicectl" --target "$target" dump-flows | flow_parts >"$RUN/over" || true
    ours=$(wc -l <"$RUN/ours") theirs=$(wc -l <"$RUN/theirs") over=$(wc -l <"$RUN/over")
    verdict "node$node: sluicectl and ovs-ofctl dump-flows agree" "$ours and $theirs flows" \
      agree "$RUN/ours" "$RUN/theirs"
    verdict "node$node: sluicectl --target agrees with both" "$over flows" agree "$RUN/over" "$RUN/theirs"
    errors=$(metrics_errors "sluice-n$node" 9651)
    verdict "node$node: /metrics passes promtool" "${errors:-no complaint}" [ "$errors" = "" ]
  done
  errors=$(metrics_errors sluice-ctl 9652)
  verdict "controller: /metrics passes promtool" "${errors:-no complaint}" [ "$errors" = "" ]
}

agree() { [ -s "$1" ] && cmp -s "$1" "$2"; }

# What promtool complains about; a page without a single metric of ours is a complaint too.
metrics_errors() {
  ip netns exec "$1" curl -sf -m 5 "http://127.0.0.1:$2/metrics" >"$RUN/metrics" || echo "no answer"
  grep -q '^sluice_' "$RUN/metrics" || echo "no metric called sluice_*"
  promtool check metrics <"$RUN/metrics" 2>&1 || true
}
