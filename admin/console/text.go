package console

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tokenserver/admin/sampler"
	"tokenserver/internal/stats"
)

// section is a group of fields, under a question that they answer.
type section struct {
	title  string
	fields []field
}

// field is something that a sample tells: on the page in the element of its id, in plain
// text after its label.
type field struct{ id, label, text string }

// sections returns all that a sample tells, in words.
func sections(s *sampler.Sample) []section {
	list := []section{health(s), capacity(s), speed(s)}
	if s.Shards != nil {
		list = append(list, shards(s.Shards))
	}
	if s.Expiring != nil {
		list = append(list, expiring(s.Expiring))
	}
	list = append(list, security(s))
	if s.Disk != nil {
		list = append(list, disk(s.Disk))
	}
	if s.Engine != nil {
		list = append(list, engine(s.Engine))
	}
	return list
}

// Texts returns all texts of a sample by their id.
func Texts(s *sampler.Sample) map[string]string {
	list := make(map[string]string)
	for _, section := range sections(s) {
		for _, f := range section.fields {
			list[f.id] = Printable(f.text)
		}
	}
	return list
}

// WriteText writes a sample as plain text.
func WriteText(w io.Writer, s *sampler.Sample) error {
	var text strings.Builder
	fmt.Fprintf(&text, "token-server  %s  sample %d\n", clockTime(s.Time), s.Number)
	for _, section := range sections(s) {
		fmt.Fprintf(&text, "\n%s\n", section.title)
		for _, f := range section.fields {
			if f.text != "" && !strings.HasSuffix(f.id, ".most") { // the top of an axis
				fmt.Fprintf(&text, "  %-22s %s\n", f.label, Printable(f.text))
			}
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// Printable writes what is not seen, or would do something to a terminal or to the order of
// the text around it, as an escape: control characters, those for the direction of writing,
// spaces other than the usual one, and bytes that are no UTF-8.
func Printable(text string) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	return out.String()
}

func health(s *sampler.Sample) section {
	sv := &s.Server
	state := "Ready"
	if !sv.Ready {
		state = "Not ready: " + sv.Reason
	}
	f := []field{
		{"status", "status", state},
		{"mode", "mode", modeText(sv.Mode)},
		{"version", "version", sv.Version},
		{"commit", "commit", sv.Commit},
		{"go_version", "built with", sv.GoVersion},
		{"uptime", "up for", span(sv.Uptime)},
		{"log_level", "log level", sv.LogLevel},
	}
	for i, w := range sv.Warnings {
		f = append(f, field{fmt.Sprintf("warning.%d", i), "warning", w})
	}
	return section{"Healthy?", f}
}

// modeText says what a mode means.
func modeText(mode string) string {
	switch mode {
	case "memory":
		return "Memory: sessions end with this process"
	case "durable":
		return "Durable: sessions outlive this process"
	case "shared":
		return "Shared: an engine keeps the sessions"
	}
	return mode
}

func capacity(s *sampler.Sample) section {
	c := &s.Capacity
	var f []field
	add := func(id, label string, g *sampler.Gauge, write func(int64) string) {
		if g != nil {
			f = append(f, field{id, label, used(g, write)}, field{id + ".full", "", untilFull(g)})
		}
	}
	add("sessions", "sessions", c.Sessions, count)
	add("memory", "memory", c.Memory, size)
	add("disk", "disk", c.Disk, size)
	add("connections", "connections", &c.Connections, count)
	return section{"How full?", f}
}

func used(g *sampler.Gauge, write func(int64) string) string {
	if g.Limit == 0 {
		return write(g.Used)
	}
	return fmt.Sprintf("%s of %s (%s)", write(g.Used), write(g.Limit), percent(float64(g.Used)/float64(g.Limit)))
}

func untilFull(g *sampler.Gauge) string {
	switch {
	case g.Limit == 0:
		return "no limit"
	case g.Used >= g.Limit:
		return "full"
	case g.GrowthTime == 0:
		return "too early to say when it is full"
	case g.UntilFull == nil:
		return "not full within a week"
	}
	return "full in " + span(*g.UntilFull) + " at this growth"
}

func speed(s *sampler.Sample) section {
	r, l := &s.Rates, &s.Latency
	return section{"How fast?", []field{
		{"exchanged", "exchanges", rate(r.Exchanged)},
		{"replayed", "replayed in grace", rate(r.Replayed)},
		{"invalid", "invalid", rate(r.Invalid)},
		{"created", "creates", rate(r.Created)},
		{"deleted", "deletes", rate(r.Deleted)},
		{"batches", "batches", rate(r.Batches)},
		{"batch_items", "items of batches", rate(r.BatchItems)},
		{"requests", "requests", rate(r.Requests)},
		{"p50", "p50", latency(l.P50)},
		{"p99", "p99", latency(l.P99)},
		{"p999", "p99.9", latency(l.P999)},
		{"latency.of", "latencies of", fmt.Sprintf("%s requests in %s", count(int64(l.Requests)), span(l.Window))},
	}}
}

func shards(s *sampler.Shards) section {
	f := []field{{"shards", "shards", count(int64(s.Count))}}
	var least, most int64 // another version's server may tell of none
	if len(s.Sessions) > 0 {
		least, most = slices.Min(s.Sessions), slices.Max(s.Sessions)
	}
	what := "sessions in a shard"
	if s.PerBar > 1 {
		what = fmt.Sprintf("sessions in %d shards", s.PerBar)
	}
	return section{"Are the shards well chosen?", append(f,
		field{"shards.sessions", what, fmt.Sprintf("%s to %s", count(least), count(most))},
		field{"shards.most", "", count(most)},
		field{"shards.waiting", "calls that wait", percent(s.Waiting)},
		field{"shards.advice", "", s.Advice},
	)}
}

func expiring(e *sampler.Expiring) section {
	sum, most := func(steps int) (n float64) {
		for _, v := range e.Sessions[:min(max(steps, 0), len(e.Sessions))] {
			n += v
		}
		return n
	}, 0.0
	for _, n := range e.Sessions {
		most = max(most, n)
	}
	hour := 0
	if e.Step > 0 {
		hour = int(3600 / e.Step)
	}
	basis := "counted"
	if !e.Exact {
		basis = "estimated from a sample of the sessions"
	}
	f := []field{
		{"expiring.step", fmt.Sprintf("in %s", span(e.Step)), count(int64(sum(1)))},
		{"expiring.hour", "in an hour", count(int64(sum(hour)))},
		{"expiring.all", fmt.Sprintf("in %s", span(e.Step*float64(len(e.Sessions)))), count(int64(sum(len(e.Sessions))))},
		{"expiring.later", "later", count(int64(e.Later))},
		{"expiring.basis", "", basis},
		{"expiring.most", "", count(int64(most))},
	}
	for i := range purgesShown {
		ended, sessions, took := "", "", ""
		if i == 0 {
			ended, sessions, took = "none yet", "–", "–"
		}
		if i < len(e.Purges) {
			p := e.Purges[i]
			ended, sessions, took = clockTime(p.Ended), count(int64(p.Sessions)), latency(p.Took)
		}
		id := fmt.Sprintf("purge.%d", i)
		f = append(f, field{id + ".ended", "purge", ended}, field{id + ".sessions", "  sessions", sessions}, field{id + ".took", "  took", took})
	}
	return section{"What is coming?", f}
}

// purgesShown is how many of the last purges are shown.
const purgesShown = 5

func security(s *sampler.Sample) section {
	var f []field
	for _, c := range counts(&s.Security) {
		f = append(f, field{"security." + c.id, c.label, rate(c.Rate)}, field{"security." + c.id + ".total", "  since the start", count(int64(c.Total))})
	}
	return section{"Is somebody stealing?", f}
}

// namedCount is a count of what may be a theft.
type namedCount struct {
	id, label, meaning string
	sampler.Count
}

func counts(s *sampler.Security) []namedCount {
	return []namedCount{
		{"invalid", "invalid", "Tokens that were presented and are not live: unknown, spent, expired or deleted.", s.Invalid},
		{"replayed", "replayed", "Spent tokens that were answered, since they were in their grace.", s.Replayed},
		{"reused", "reused", "Spent tokens of live sessions that were presented beyond any grace.", s.Reused},
		{"revoked", "revoked", "Sessions that ended because of that.", s.Revoked},
		{"unauthorized", "unauthorized", "Requests whose callers were not known, on both listeners.", s.Unauthorized},
	}
}

func disk(d *sampler.Disk) section {
	free := "not known"
	if d.Free >= 0 {
		free = size(d.Free)
	}
	return section{"Durable mode", []field{
		{"disk.bytes", "on disk", size(d.Bytes)},
		{"disk.free", "free on the disk", free},
		{"disk.syncs", "syncs", rate(d.Syncs)},
		{"disk.sync", "a sync takes", latency(d.SyncTime)},
		{"disk.group", "changes in a group", digits(d.Group)},
	}}
}

func engine(e *sampler.Engine) section {
	state := "answers"
	if !e.Up {
		state = "does not answer"
	}
	memory := "not known"
	if e.Memory > 0 {
		memory = used(&sampler.Gauge{Used: e.Memory, Limit: e.MaxMemory}, size)
		if e.MaxMemory == 0 {
			memory += ", no limit"
		}
	}
	eviction := e.Eviction
	switch eviction {
	case "":
		eviction = "not known"
	case "noeviction":
	default:
		eviction += ": it may evict live sessions"
	}
	return section{"Shared mode", []field{
		{"engine.state", "the engine", state},
		{"engine.version", "version", e.Version},
		{"engine.mode", "mode", e.Mode},
		{"engine.role", "role", e.Role},
		{"engine.latency", "a command takes", latency(e.Latency)},
		{"engine.commands", "commands", rate(e.Commands)},
		{"engine.errors", "errors", rate(e.Errors)},
		{"engine.memory", "memory", memory},
		{"engine.eviction", "eviction policy", eviction},
	}}
}

// summary is what is read aloud now and then.
func summary(s *sampler.Sample) string {
	text := rate(s.Rates.Exchanged)
	if s.Capacity.Sessions != nil {
		text = count(s.Capacity.Sessions.Used) + " sessions, " + text
	}
	text = strings.TrimSuffix(text, "/s") + " exchanges a second"
	if s.Latency.Requests > 0 {
		text += ", 99 percent within " + latency(s.Latency.P99)
	}
	return text + "."
}

// stepsShown is how many bars of what is coming there are.
const stepsShown = len(stats.Expiring{}.Steps)
