package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// String lists them.
func (d *doings) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, what := range slices.Sorted(maps.Keys(d.n)) {
		all = append(all, fmt.Sprintf("%s: %d", what, d.n[what]))
	}
	return strings.Join(all, ", ")
}

// span is how often something happened, as far as somebody can know: exactly so
// often if both are the same.
type span struct{ least, most int64 }

// book is what clients and backends have seen of a name: what its counters and
// its metrics must say, by counter or by sample.
type book struct {
	name  string
	exact bool // nothing of it is in doubt

	mu   sync.Mutex
	seen map[string]span
}

// add says that something happened n times.
func (b *book) add(what string, n int64) { b.between(what, n, n) }

// between says that something happened at least and at most so often.
func (b *book) between(what string, least, most int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if least > most || b.exact && least != most {
		panic(fmt.Sprintf("%s of %s is in doubt: %d to %d", what, b.name, least, most))
	}
	was := b.seen[what]
	b.seen[what] = span{was.least + least, was.most + most}
}

func (b *book) actions(action string, retcode int) string {
	return fmt.Sprintf(`actions_total{action="%s",name="%s",retcode="%d"}`, action, b.name, retcode)
}

// call says that a call was answered here.
func (b *book) call(action string, retcode int) {
	b.add(b.actions(action, retcode), 1)
	b.timed(action, 1, 1)
	if retcode != 1401 && retcode != 1403 { // which count nowhere else
		b.packets(1, 0)
	}
}

// timed says how often calls of an action were answered, with whatever retcode.
func (b *book) timed(action string, least, most int64) {
	b.between(fmt.Sprintf(`action_duration_seconds_count{action="%s",name="%s"}`, action, b.name), least, most)
}

// packets says how many packets came and were delivered, or were lost.
func (b *book) packets(sent, lost int64) {
	b.add("PacketReceived", sent+lost)
	b.add("PacketSent", sent)
	b.add("PacketLost", lost)
}

// unsurePackets says how many packets came that were delivered or lost.
func (b *book) unsurePackets(least, most int64) {
	b.between("PacketReceived", least, most)
	b.between("PacketSent", 0, most)
	b.between("PacketLost", 0, most)
}

// download says what came of a download, and how many bytes it has received.
func (b *book) download(result string, least, most int64) {
	b.add(b.result(result), 1)
	b.bytes(least, most)
}

func (b *book) result(result string) string {
	return fmt.Sprintf(`downloads_total{name="%s",result="%s"}`, b.name, result)
}

func (b *book) bytes(least, most int64) {
	b.between(`download_bytes_total{name="`+b.name+`"}`, least, most)
}

// errors says what the counters and metrics say otherwise than this does.
func (b *book) errors(counters stat, served metrics) (wrong []string) {
	said := make(map[string]int64)
	maps.Copy(said, counters)
	if counters["PacketReceived"] != counters["PacketSent"]+counters["PacketLost"] {
		wrong = append(wrong, "a packet is under way")
	}
	if counters["LostTimes"] != counters["PacketLost"] {
		wrong = append(wrong, "LostTimes is not PacketLost")
	}
	delete(said, "LostTimes")
	for sample, value := range served {
		metric, _, _ := strings.Cut(sample, "{")
		switch metric {
		case "actions_total", "action_duration_seconds_count", "downloads_total", "download_bytes_total":
			if strings.Contains(sample, `name="`+b.name+`"`) {
				said[sample] = int64(value)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for what := range b.seen {
		said[what] += 0 // so that none is left out
	}
	for _, what := range slices.Sorted(maps.Keys(said)) {
		if got, want := said[what], b.seen[what]; got < want.least || got > want.most {
			wrong = append(wrong, fmt.Sprintf("%s is %d, want %d to %d", what, got, want.least, want.most))
		}
	}
	return wrong
}
