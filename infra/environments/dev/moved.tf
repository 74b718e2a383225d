# Of releases before 0.2.0, where the parts were called from here. A state of theirs plans without a destroy.
moved {
  from = module.network
  to   = module.signet.module.network
}

moved {
  from = module.tables
  to   = module.signet.module.tables
}

moved {
  from = module.ca_keys
  to   = module.signet.module.ca_keys
}

moved {
  from = module.control_plane
  to   = module.signet.module.control_plane
}

moved {
  from = module.enroll
  to   = module.signet.module.enroll
}

moved {
  from = module.keymaker
  to   = module.signet.module.keymaker
}

moved {
  from = module.rotate
  to   = module.signet.module.rotate
}

moved {
  from = module.publication
  to   = module.signet.module.publication
}

moved {
  from = module.observability
  to   = module.signet.module.observability
}

moved {
  from = module.operators
  to   = module.signet.module.operators
}
