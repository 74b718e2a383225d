# CPU units (1024 is a core) and MiB of a task, and how many tasks. One task of `small` carries a thousand connections or so;
# more tasks serve more connections, while how many certificates can be signed is KMS's to say, not theirs.
locals {
  sizes = {
    # One node: a deployment starts the next before it stops this one, a crash or a lost zone is minutes without an answer.
    tiny   = { cpu = 256, memory = 512, min_tasks = 1, max_tasks = 1 }
    small  = { cpu = 256, memory = 512, min_tasks = 2, max_tasks = 4 }
    medium = { cpu = 1024, memory = 2048, min_tasks = 2, max_tasks = 12 }
    large  = { cpu = 4096, memory = 8192, min_tasks = 3, max_tasks = 30 }
  }

  size = local.sizes[var.size]
}
