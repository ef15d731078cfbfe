package syslog

// AwaitEnd waits until the sink has seen that the server ended the connection.
func AwaitEnd(s *Sink) { <-s.ended }
