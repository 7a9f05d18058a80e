package admin

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tokenserver/internal/stack"
	"tokenserver/internal/stats"
)

const namespace = "token_server"

var (
	requestsDesc        = desc("requests_total", "Requests answered.", "method", "code")
	durationsDesc       = desc("request_duration_seconds", "Time that a request took, from when it was read to when its answer was ready.")
	connectionsDesc     = desc("connections", "Connections that are open.")
	connectionLimitDesc = desc("connections_max", "Connections that there may be at a time; 0 for no limit.")
	shedDesc            = desc("connections_shed_total", "Connections closed or refused because there were too many.")
	badHandshakesDesc   = desc("tls_handshake_errors_total", "Handshakes of TLS that failed.")
	refusedDesc         = desc("callers_refused_total", "Requests whose callers were not known, on both listeners.")
	itemsDesc           = desc("batch_items_total", "Items of batches.", "kind", "result")
	batchesDesc         = desc("batch_items", "Items of a batch.")
	buildDesc           = desc("build_info", "Always 1, labelled with what runs.", "version", "commit", "goversion")

	sessionsDesc     = desc("sessions", "Sessions held, expired ones that are not purged yet among them.")
	sessionLimitDesc = desc("sessions_max", "Sessions that there may be; 0 for no limit.")
	bytesDesc        = desc("store_bytes", "Bytes taken by sessions.")
	reservedDesc     = desc("store_reserved_bytes", "Bytes reserved for sessions, free ones and the shards' maps included; the limit of memory is theirs.")
	memoryLimitDesc  = desc("store_max_bytes", "Bytes that may be reserved for sessions; 0 for no limit.")
	shardsDesc       = desc("shards", "Shards of the store.")
	subjectsDesc     = desc("subjects", "Subjects that have sessions.")
	exchangesDesc    = desc("exchanges_total", "Exchanges by result: ok, replayed for a spent token in its grace, or invalid for one that is not live (ill-formed ones don't get that far).", "result")
	createdDesc      = desc("sessions_created_total", "Sessions created.")
	deletedDesc      = desc("sessions_deleted_total", "Sessions ended by their owner.")
	purgedDesc       = desc("sessions_purged_total", "Expired sessions whose memory was taken back.")
	reusedDesc       = desc("tokens_reused_total", "Spent tokens presented beyond any grace.")
	revokedDesc      = desc("sessions_revoked_total", "Sessions ended because a token of theirs was reused, or with their subject's others.", "cause")
	lockWaitDesc     = desc("lock_wait_seconds_total", "Time spent waiting for shard locks, over all requests.")
	contendedDesc    = desc("lock_contended_total", "Times that a shard lock had to be waited for.")
	purgeHoldDesc    = desc("purge_lock_hold_max_seconds", "Longest time that a purge has held a shard lock.")

	diskBytesDesc = desc("store_disk_bytes", "Bytes in the files that the store has on disk, without what is set aside for its log.")
	diskFreeDesc  = desc("store_disk_free_bytes", "Bytes that are free on the store's disk.")
	syncsDesc     = desc("store_sync_duration_seconds", "Time that a sync of the store's log took.")

	engineUpDesc        = desc("engine_up", "1 if the engine answers, labelled with what it is.", "version", "mode", "role")
	engineInFlightDesc  = desc("engine_calls_in_flight", "Calls to the engine that are under way.")
	engineDurationsDesc = desc("engine_duration_seconds", "Time that a command to the engine took, or a pipeline of them.")
	engineErrorsDesc    = desc("engine_errors_total", "Commands that the engine did not carry out, or did not answer.", "kind")
	engineRetriesDesc   = desc("engine_retries_total", "Commands that were sent again.")
	engineLateDesc      = desc("engine_late_total", "Calls that reached the engine after their deadline, so that it did not carry them out.")
	engineLostDesc      = desc("engine_lost_total", "Times that the engine, or a primary of it, was found to have lost its sessions.")
	engineMetaDesc      = desc("engine_session_meta_bytes", "Usual size of a session's metadata.")
	engineMemoryDesc    = desc("engine_session_bytes", "Memory that a session takes in the engine, sampled; 0 if the engine does not tell.")
	engineUsedDesc      = desc("engine_memory_bytes", "Memory that the engine uses, sampled; 0 if it does not tell.")
	engineLimitDesc     = desc("engine_max_memory_bytes", "Memory that the engine may use (maxmemory), sampled; 0 for no limit, or if it does not tell.")
	engineConnsDesc     = desc("engine_connections", "Connections to the engine.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// collector reads the statistics when it is scraped and at no other time.
type collector struct {
	store    func() stats.Store
	requests func() stats.Server
	build    stats.Build
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		requestsDesc, durationsDesc, buildDesc, connectionsDesc, connectionLimitDesc, shedDesc,
		badHandshakesDesc, refusedDesc,
		itemsDesc, batchesDesc,
		sessionsDesc, sessionLimitDesc, bytesDesc, reservedDesc, memoryLimitDesc, shardsDesc, exchangesDesc,
		createdDesc, deletedDesc, purgedDesc, reusedDesc, revokedDesc, subjectsDesc,
		lockWaitDesc, contendedDesc, purgeHoldDesc,
		diskBytesDesc, diskFreeDesc, syncsDesc,
		engineUpDesc, engineInFlightDesc, engineDurationsDesc, engineErrorsDesc, engineRetriesDesc, engineLateDesc, engineLostDesc, engineMetaDesc,
		engineMemoryDesc, engineUsedDesc, engineLimitDesc, engineConnsDesc,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
//
// A panic is a metric that is invalid: the registry's own report of it has the
// arguments of functions in it.
func (c collector) Collect(out chan<- prometheus.Metric) {
	defer func() {
		if p := recover(); p != nil {
			out <- prometheus.NewInvalidMetric(buildDesc, stack.PanicError(p))
		}
	}()
	gauge(out, buildDesc, 1, c.build.Version, c.build.Commit, c.build.GoVersion)
	collectRequests(out, c.requests())
	collectStore(out, c.store())
}

func collectRequests(out chan<- prometheus.Metric, st stats.Server) {
	for _, r := range st.Requests {
		counter(out, requestsDesc, float64(r.Count), r.Method, codeLabel(r.Code))
	}
	gauge(out, connectionsDesc, float64(st.Connections))
	gauge(out, connectionLimitDesc, float64(st.MaxConnections))
	counter(out, shedDesc, float64(st.Shed))
	counter(out, badHandshakesDesc, float64(st.BadHandshakes))
	counter(out, refusedDesc, float64(st.Refused))
	buckets, count := cumulate(seconds(st.Durations.Bounds), st.Durations.Counts)
	out <- prometheus.MustNewConstHistogram(durationsDesc, count, st.Durations.Sum.Seconds(), buckets)
	for _, i := range st.BatchItems {
		counter(out, itemsDesc, float64(i.Count), i.Kind, i.Result)
	}
	buckets, count = cumulate(st.BatchSizes.Bounds, st.BatchSizes.Counts)
	out <- prometheus.MustNewConstHistogram(batchesDesc, count, float64(st.BatchSizes.Sum), buckets)
}

func collectStore(out chan<- prometheus.Metric, st stats.Store) {
	gauge(out, sessionsDesc, float64(st.Sessions))
	gauge(out, sessionLimitDesc, float64(st.MaxSessions))
	gauge(out, bytesDesc, float64(st.Bytes))
	gauge(out, reservedDesc, float64(st.Reserved))
	gauge(out, memoryLimitDesc, float64(st.MaxReserved))
	gauge(out, shardsDesc, float64(st.Shards))
	counter(out, exchangesDesc, float64(st.Exchanged), "ok")
	counter(out, exchangesDesc, float64(st.Replayed), "replayed")
	counter(out, exchangesDesc, float64(st.Invalid), "invalid")
	counter(out, reusedDesc, float64(st.Reused))
	counter(out, revokedDesc, float64(st.Revoked), "reuse")
	counter(out, revokedDesc, float64(st.Ended), "subject")
	gauge(out, subjectsDesc, float64(st.Subjects))
	counter(out, createdDesc, float64(st.Created))
	counter(out, deletedDesc, float64(st.Deleted))
	counter(out, purgedDesc, float64(st.Purged))
	counter(out, lockWaitDesc, st.LockWait.Seconds())
	counter(out, contendedDesc, float64(st.Contended))
	gauge(out, purgeHoldDesc, st.LongestPurgeHold.Seconds())
	if st.Disk != nil {
		collectDisk(out, st.Disk)
	}
	if st.Engine != nil {
		collectEngine(out, st.Engine)
	}
}

func collectEngine(out chan<- prometheus.Metric, e *stats.Engine) {
	up := 0.0
	if e.Up {
		up = 1
	}
	gauge(out, engineUpDesc, up, e.Version, e.Mode, e.Role)
	gauge(out, engineInFlightDesc, float64(e.InFlight))
	buckets, count := cumulate(seconds(e.Durations.Bounds), e.Durations.Counts)
	out <- prometheus.MustNewConstHistogram(engineDurationsDesc, count, e.Durations.Sum.Seconds(), buckets)
	for _, kind := range e.Errors {
		counter(out, engineErrorsDesc, float64(kind.Count), kind.Kind)
	}
	counter(out, engineRetriesDesc, float64(e.Retries))
	counter(out, engineLateDesc, float64(e.Late))
	counter(out, engineLostDesc, float64(e.Lost))
	gauge(out, engineMetaDesc, float64(e.MetaBytes))
	gauge(out, engineMemoryDesc, float64(e.SessionBytes))
	gauge(out, engineUsedDesc, float64(e.Memory))
	gauge(out, engineLimitDesc, float64(e.MaxMemory))
	gauge(out, engineConnsDesc, float64(e.Connections))
}

func collectDisk(out chan<- prometheus.Metric, st *stats.Disk) {
	gauge(out, diskBytesDesc, float64(st.Bytes))
	if st.Free >= 0 {
		gauge(out, diskFreeDesc, float64(st.Free))
	}
	out <- prometheus.MustNewConstSummary(syncsDesc, st.Syncs, st.SyncTime.Seconds(), nil)
}

// codeLabel returns the label of a status.
func codeLabel(code int) string {
	if code == 0 {
		return "other"
	}
	return strconv.Itoa(code)
}

// cumulate returns how many things are up to each bound, and how many there are.
func cumulate(bounds []float64, counts []uint64) (buckets map[float64]uint64, count uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	for i, n := range counts {
		count += n
		if i < len(bounds) {
			buckets[bounds[i]] = count
		}
	}
	return buckets, count
}

func seconds(durations []time.Duration) (numbers []float64) {
	for _, d := range durations {
		numbers = append(numbers, d.Seconds())
	}
	return numbers
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}
