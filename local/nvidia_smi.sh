#!/bin/sh
# nvidia-smi of a simulated machine: prints what the simulator has written for its GPUs.
gpu="${0%/bin/nvidia-smi}/gpu"
fields="" every="" header=1 units=1
while [ $# -gt 0 ]; do
  case "$1" in
    --query-gpu=*) fields="${1#--query-gpu=}" ;;
    --format=*)
      case "$1" in *noheader*) header=0 ;; esac
      case "$1" in *nounits*) units=0 ;; esac ;;
    -l) shift; every="$1" ;;
    --loop=*) every="${1#--loop=}" ;;
    -L) cat "$gpu/list"; exit 0 ;;
    *) echo "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help." >&2; exit 1 ;;
  esac
  shift
done
show() {
  if [ -z "$fields" ]; then cat "$gpu/table"; return; fi
  awk -F'\t' -v want="$fields" -v header="$header" -v units="$units" '
    BEGIN { n = split(want, w, ",") }
    NR == 1 { for (i = 1; i <= NF; i++) { split($i, h, "|"); at[h[1]] = i; unit[h[1]] = h[2] }
      for (k = 1; k <= n; k++) if (!(w[k] in at)) { printf "Field \"%s\" is not a valid field to query.\n", w[k]; exit 2 }
      if (header) { line = ""; for (k = 1; k <= n; k++) line = line (k > 1 ? ", " : "") w[k] (unit[w[k]] && units ? " [" unit[w[k]] "]" : ""); print line }
      next }
    { line = ""; for (k = 1; k <= n; k++) line = line (k > 1 ? ", " : "") $at[w[k]] (unit[w[k]] && units ? " " unit[w[k]] : ""); print line; fflush() }
  ' "$gpu/values"
}
show
status=$?
[ -n "$every" ] || exit $status
while sleep "$every"; do show; done
