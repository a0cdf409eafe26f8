package jet

import "bongsu/journal"

var _ journal.Bus = (*Journal)(nil)

// Publish implements journal.Bus.
func (j *Journal) Publish(topic string, data []byte) error { panic("not yet") }

// Subscribe implements journal.Bus.
func (j *Journal) Subscribe(topic string, fn func(data []byte)) (stop func(), err error) { panic("not yet") }
