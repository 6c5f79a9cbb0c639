//! Programs over the kbk format that need no Kafka.
