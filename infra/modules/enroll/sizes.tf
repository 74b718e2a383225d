# MiB and reserved instances of the Lambda; calls a second, and at once, that the API lets through; calls in five minutes from one
# address (0: no web ACL, which costs 6 dollars a month), less than half of the API's rate, so that one cannot shut out the others.
# The reservation bounds what a flood can cost, and how many signatures of KMS's quota it can take from renewals. AWS keeps 100
# instances unreserved: 50 take a quota (L-B99A9384, "Concurrent executions") of 150, and a new account has 10 or 50 in all. So tiny
# and small reserve none; the rate bounds it.
locals {
  sizes = {
    tiny   = { memory = 256, concurrency = -1, rate = 20, burst = 40, per_address = 0 }
    small  = { memory = 256, concurrency = -1, rate = 20, burst = 40, per_address = 2000 }
    medium = { memory = 512, concurrency = 50, rate = 100, burst = 200, per_address = 2000 }
    large  = { memory = 1024, concurrency = 200, rate = 500, burst = 1000, per_address = 10000 }
  }

  size = local.sizes[var.size]
}
