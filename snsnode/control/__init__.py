"""What ``snsctl`` does to this machine: start, stop and look at the VMs of a spec that live here."""
