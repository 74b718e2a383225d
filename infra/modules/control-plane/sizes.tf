# CPU units (1024 is a core) and MiB of a task, and how many tasks. One task of `small` carries a thousand connections or so;
# more tasks serve more connections, while how many certificates can be signed is KMS's to say, not theirs.
locals {
  sizes = {
    small  = { cpu = 256, memory = 512, min_tasks = 2, max_tasks = 4 }
    medium = { cpu = 1024, memory = 2048, min_tasks = 2, max_tasks = 12 }
    large  = { cpu = 4096, memory = 8192, min_tasks = 3, max_tasks = 30 }
  }

  size = local.sizes[var.size]
}
