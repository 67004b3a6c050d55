//! The replication engine of a mesh of leaders, without sockets, clocks or threads.
