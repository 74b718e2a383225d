# Two ranges overlap if they have the same network under the shorter of their masks.
locals {
  ranges = concat(local.own == 1 ? [var.cidr] : [], var.peer_cidrs)

  overlaps = flatten([
    for i, a in local.ranges : [
      for b in slice(local.ranges, i + 1, length(local.ranges)) : "${a} and ${b}"
      if length(distinct([
        for cidr in [a, b] : try(cidrhost("${split("/", cidr)[0]}/${min(split("/", a)[1], split("/", b)[1])}", 0), cidr)
      ])) == 1
    ]
  ])
}
