# MiB and instances of the Lambda; calls a second, and at once, that the API lets through. The concurrency bounds what a flood can cost,
# and how many signatures of KMS's quota it can take from renewals.
locals {
  sizes = {
    small  = { memory = 256, concurrency = 10, rate = 20, burst = 40 }
    medium = { memory = 512, concurrency = 50, rate = 100, burst = 200 }
    large  = { memory = 1024, concurrency = 200, rate = 500, burst = 1000 }
  }

  size = local.sizes[var.size]
}
