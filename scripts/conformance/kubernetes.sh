# shellcheck shell=bash
# The part `kubernetes` of conformance.sh: two nodes on a control plane whose programs the caller names.
# Sourced; everything it makes is called slkube-* (namespaces) or lies in /run/sluice-kubernetes.
# In a subshell, since the names of the parts' functions are each part's own.

kubernetes_settings() {
  PREFIX=slkube RUN=/run/sluice-kubernetes
  # shellcheck disable=SC2034 # for lib.sh
  LOGS=$RUN/logs PIDS=$RUN/pids PKI=$RUN/pki
  # Versions are forgotten after some seconds, so that this happens here.
  APISERVER_OPTIONS=(--etcd-compaction-interval 10s)
  # shellcheck source=scripts/demo/topology.sh
  . scripts/demo/topology.sh
  # shellcheck source=scripts/conformance/kubernetes/cluster.sh
  . scripts/conformance/kubernetes/cluster.sh
  # shellcheck source=scripts/conformance/kubernetes/checks.sh
  . scripts/conformance/kubernetes/checks.sh
}

kubernetes() (
  for program in KUBE_APISERVER ETCD KUBE_CONTROLLER_MANAGER KUBE_SCHEDULER; do
    [ -n "${!program:-}" ] || {
      note "skipped: no $(tr A-Z_ a-z- <<<"$program") given"
      exit 77
    }
  done
  command -v kubectl >/dev/null || die "there is no kubectl"
  kubernetes_settings
  cluster_down 2>/dev/null
  mkdir -p "$LOGS"
  echo $$ >"$RUN/whose"
  cluster_up
  run_checks
)

kubernetes_down() (
  kubernetes_settings
  cluster_down
)

# What stays: everything with --keep, else the logs.
kubernetes_end() (
  kubernetes_settings
  # Not what another run has kept.
  [ "$(cat "$RUN/whose" 2>/dev/null)" = $$ ] || exit 0
  rm -rf /tmp/sluice-kubernetes-logs
  cp -r "$LOGS" /tmp/sluice-kubernetes-logs
  note "logs: /tmp/sluice-kubernetes-logs"
  if [ "$KEEP" = yes ]; then
    note "kept: ip netns exec $PREFIX-ctl kubectl --kubeconfig $RUN/admin.kubeconfig get pods -A"
  else
    cluster_down
  fi
)
