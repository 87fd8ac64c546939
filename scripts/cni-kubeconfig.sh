#!/usr/bin/env bash
# Prints the kubeconfig by which sluice-cni reads Pods, for /etc/sluice/cni.kubeconfig on every node.
#
#   ./scripts/cni-kubeconfig.sh [--server URL] > cni.kubeconfig
#        --server URL   where nodes reach the API server; default: where kubectl does
#
# Needs kubectl with the right to read Secrets in sluice-system, and deploy/kubernetes applied. What
# it prints may do nothing but read Pods; it is a secret all the same.
set -euo pipefail

SERVER=
while [ $# -gt 0 ]; do
  case $1 in
    --server)
      [ $# -ge 2 ] || { echo "cni-kubeconfig.sh: --server needs a value" >&2; exit 2; }
      SERVER=$2
      shift
      ;;
    -h | --help)
      sed -n '2,7s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      echo "cni-kubeconfig.sh: unknown argument $1; see --help" >&2
      exit 2
      ;;
  esac
  shift
done

NAMESPACE=sluice-system
SECRET=sluice-cni-token
if [ -z "$SERVER" ]; then
  SERVER=$(kubectl config view --minify --output 'jsonpath={.clusters[0].cluster.server}')
fi
read_key() {
  kubectl --namespace "$NAMESPACE" get secret "$SECRET" --output "jsonpath={.data.$1}"
}
# The token is made a moment after the Secret.
TOKEN=
for _ in 1 2 3 4 5 6 7 8 9 10; do
  TOKEN=$(read_key token | base64 --decode)
  [ -n "$TOKEN" ] && break
  sleep 1
done
[ -n "$TOKEN" ] || {
  echo "cni-kubeconfig.sh: Secret $NAMESPACE/$SECRET has no token; is kube-controller-manager running?" >&2
  exit 1
}
CA=$(read_key 'ca\.crt')

cat <<END
apiVersion: v1
kind: Config
clusters:
  - name: cluster
    cluster:
      server: $SERVER
      certificate-authority-data: $CA
users:
  - name: sluice-cni
    user:
      token: $TOKEN
contexts:
  - name: sluice-cni
    context:
      cluster: cluster
      user: sluice-cni
current-context: sluice-cni
END
