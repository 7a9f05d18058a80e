package admin

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tokenserver/internal/stats"
)

func sampleCollector() collector {
	return collector{
		build: stats.Build{Version: "v1.2.3", Commit: "abc123", GoVersion: "go1.26"},
		store: func() stats.Store {
			return stats.Store{
				Shards: 32, Sessions: 7, Bytes: 4096, Reserved: 8192, MaxSessions: 5000, MaxReserved: 9000,
				Counters: stats.Counters{
					Created: 10, Exchanged: 20, Invalid: 3, Deleted: 2, Purged: 1,
					Replayed: 5, Reused: 6, Revoked: 8, Ended: 9,
				},
				Subjects: 11,
				LockWait: 1500 * time.Millisecond, Contended: 4, LongestPurgeHold: 250 * time.Microsecond,
				Disk: &stats.Disk{Bytes: 5000, Free: 6000, Syncs: 12, SyncTime: 3 * time.Second},
			}
		},
		requests: func() stats.Server {
			return stats.Server{
				Requests: []stats.RequestCount{
					{Method: "POST", Code: 200, Count: 10}, {Method: "PUT", Code: 200, Count: 23},
					{Method: "other", Code: 405, Count: 1}, {Method: "GET", Code: 0, Count: 2},
				},
				Connections: 64, MaxConnections: 1000, Shed: 12, BadHandshakes: 13, Refused: 14,
				Durations: stats.Histogram{
					Bounds: []time.Duration{100 * time.Microsecond, time.Millisecond, time.Second},
					Counts: []uint64{30, 3, 0, 1},
					Sum:    2500 * time.Millisecond,
				},
				BatchItems: []stats.ItemCount{
					{Kind: "exchange", Result: "Ok", Count: 295}, {Kind: "exchange", Result: "InvalidToken", Count: 4},
					{Kind: "none", Result: "InvalidRequest", Count: 1},
				},
				BatchSizes: stats.Sizes{Bounds: []float64{1, 64}, Counts: []uint64{2, 3, 1}, Sum: 300},
			}
		},
	}
}

const sampleMetrics = `
# HELP token_server_batch_items Items of a batch.
# TYPE token_server_batch_items histogram
token_server_batch_items_bucket{le="1"} 2
token_server_batch_items_bucket{le="64"} 5
token_server_batch_items_bucket{le="+Inf"} 6
token_server_batch_items_sum 300
token_server_batch_items_count 6
# HELP token_server_batch_items_total Items of batches.
# TYPE token_server_batch_items_total counter
token_server_batch_items_total{kind="exchange",result="InvalidToken"} 4
token_server_batch_items_total{kind="exchange",result="Ok"} 295
token_server_batch_items_total{kind="none",result="InvalidRequest"} 1
# HELP token_server_build_info Always 1, labelled with what runs.
# TYPE token_server_build_info gauge
token_server_build_info{commit="abc123",goversion="go1.26",version="v1.2.3"} 1
# HELP token_server_callers_refused_total Requests whose callers were not known, on both listeners.
# TYPE token_server_callers_refused_total counter
token_server_callers_refused_total 14
# HELP token_server_connections Connections that are open.
# TYPE token_server_connections gauge
token_server_connections 64
# HELP token_server_connections_max Connections that there may be at a time; 0 for no limit.
# TYPE token_server_connections_max gauge
token_server_connections_max 1000
# HELP token_server_connections_shed_total Connections closed or refused because there were too many.
# TYPE token_server_connections_shed_total counter
token_server_connections_shed_total 12
# HELP token_server_exchanges_total Exchanges by result: ok, replayed for a spent token in its grace, or invalid for one that is not live (ill-formed ones don't get that far).
# TYPE token_server_exchanges_total counter
token_server_exchanges_total{result="invalid"} 3
token_server_exchanges_total{result="ok"} 20
token_server_exchanges_total{result="replayed"} 5
# HELP token_server_lock_contended_total Times that a shard lock had to be waited for.
# TYPE token_server_lock_contended_total counter
token_server_lock_contended_total 4
# HELP token_server_lock_wait_seconds_total Time spent waiting for shard locks, over all requests.
# TYPE token_server_lock_wait_seconds_total counter
token_server_lock_wait_seconds_total 1.5
# HELP token_server_purge_lock_hold_max_seconds Longest time that a purge has held a shard lock.
# TYPE token_server_purge_lock_hold_max_seconds gauge
token_server_purge_lock_hold_max_seconds 0.00025
# HELP token_server_request_duration_seconds Time that a request took, from when it was read to when its answer was ready.
# TYPE token_server_request_duration_seconds histogram
token_server_request_duration_seconds_bucket{le="0.0001"} 30
token_server_request_duration_seconds_bucket{le="0.001"} 33
token_server_request_duration_seconds_bucket{le="1"} 33
token_server_request_duration_seconds_bucket{le="+Inf"} 34
token_server_request_duration_seconds_sum 2.5
token_server_request_duration_seconds_count 34
# HELP token_server_requests_total Requests answered.
# TYPE token_server_requests_total counter
token_server_requests_total{code="200",method="POST"} 10
token_server_requests_total{code="200",method="PUT"} 23
token_server_requests_total{code="405",method="other"} 1
token_server_requests_total{code="other",method="GET"} 2
# HELP token_server_sessions Sessions held, expired ones that are not purged yet among them.
# TYPE token_server_sessions gauge
token_server_sessions 7
# HELP token_server_sessions_created_total Sessions created.
# TYPE token_server_sessions_created_total counter
token_server_sessions_created_total 10
# HELP token_server_sessions_deleted_total Sessions ended by their owner.
# TYPE token_server_sessions_deleted_total counter
token_server_sessions_deleted_total 2
# HELP token_server_sessions_max Sessions that there may be; 0 for no limit.
# TYPE token_server_sessions_max gauge
token_server_sessions_max 5000
# HELP token_server_sessions_purged_total Expired sessions whose memory was taken back.
# TYPE token_server_sessions_purged_total counter
token_server_sessions_purged_total 1
# HELP token_server_sessions_revoked_total Sessions ended because a token of theirs was reused, or with their subject's others.
# TYPE token_server_sessions_revoked_total counter
token_server_sessions_revoked_total{cause="reuse"} 8
token_server_sessions_revoked_total{cause="subject"} 9
# HELP token_server_shards Shards of the store.
# TYPE token_server_shards gauge
token_server_shards 32
# HELP token_server_store_bytes Bytes taken by sessions.
# TYPE token_server_store_bytes gauge
token_server_store_bytes 4096
# HELP token_server_store_disk_bytes Bytes in the files that the store has on disk, without what is set aside for its log.
# TYPE token_server_store_disk_bytes gauge
token_server_store_disk_bytes 5000
# HELP token_server_store_disk_free_bytes Bytes that are free on the store's disk.
# TYPE token_server_store_disk_free_bytes gauge
token_server_store_disk_free_bytes 6000
# HELP token_server_store_max_bytes Bytes that may be reserved for sessions; 0 for no limit.
# TYPE token_server_store_max_bytes gauge
token_server_store_max_bytes 9000
# HELP token_server_store_reserved_bytes Bytes reserved for sessions, free ones and the shards' maps included; the limit of memory is theirs.
# TYPE token_server_store_reserved_bytes gauge
token_server_store_reserved_bytes 8192
# HELP token_server_store_sync_duration_seconds Time that a sync of the store's log took.
# TYPE token_server_store_sync_duration_seconds summary
token_server_store_sync_duration_seconds_sum 3
token_server_store_sync_duration_seconds_count 12
# HELP token_server_subjects Subjects that have sessions.
# TYPE token_server_subjects gauge
token_server_subjects 11
# HELP token_server_tls_handshake_errors_total Handshakes of TLS that failed.
# TYPE token_server_tls_handshake_errors_total counter
token_server_tls_handshake_errors_total 13
# HELP token_server_tokens_reused_total Spent tokens presented beyond any grace.
# TYPE token_server_tokens_reused_total counter
token_server_tokens_reused_total 6
`

// scrape returns all metrics of c as text.
func scrape(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // refuses what Describe did not announce
	registry.MustRegister(c)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape = %d %s, want 200", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestCollector(t *testing.T) {
	if got, want := scrape(t, sampleCollector()), sampleMetrics[1:]; got != want {
		t.Errorf("metrics =\n%s\nwant\n%s", got, want)
	}
}

func TestCollectorOfDisks(t *testing.T) {
	tests := []struct {
		name string
		disk *stats.Disk
		want int // metrics of the disk
	}{
		{"no disk", nil, 0},
		{"free space unknown", &stats.Disk{Free: -1}, 3},
		{"full", &stats.Disk{}, 4},
	}
	for _, tt := range tests {
		c := sampleCollector()
		store := c.store
		c.store = func() stats.Store { st := store(); st.Disk = tt.disk; return st }
		text := scrape(t, c)
		if got := strings.Count(text, "\ntoken_server_store_disk") + strings.Count(text, "\ntoken_server_store_sync"); got != tt.want {
			t.Errorf("%s: %d metrics of the disk, want %d:\n%s", tt.name, got, tt.want, text)
		}
	}
}

const engineMetrics = `
# HELP token_server_engine_calls_in_flight Calls to the engine that are under way.
# TYPE token_server_engine_calls_in_flight gauge
token_server_engine_calls_in_flight 3
# HELP token_server_engine_connections Connections to the engine.
# TYPE token_server_engine_connections gauge
token_server_engine_connections 2
# HELP token_server_engine_duration_seconds Time that a command to the engine took, or a pipeline of them.
# TYPE token_server_engine_duration_seconds histogram
token_server_engine_duration_seconds_bucket{le="0.001"} 5
token_server_engine_duration_seconds_bucket{le="+Inf"} 6
token_server_engine_duration_seconds_sum 0.5
token_server_engine_duration_seconds_count 6
# HELP token_server_engine_errors_total Commands that the engine did not carry out, or did not answer.
# TYPE token_server_engine_errors_total counter
token_server_engine_errors_total{kind="timeout"} 9
# HELP token_server_engine_late_total Calls that reached the engine after their deadline, so that it did not carry them out.
# TYPE token_server_engine_late_total counter
token_server_engine_late_total 2
# HELP token_server_engine_lost_total Times that the engine, or a primary of it, was found to have lost its sessions.
# TYPE token_server_engine_lost_total counter
token_server_engine_lost_total 4
# HELP token_server_engine_max_memory_bytes Memory that the engine may use (maxmemory), sampled; 0 for no limit, or if it does not tell.
# TYPE token_server_engine_max_memory_bytes gauge
token_server_engine_max_memory_bytes 400000
# HELP token_server_engine_memory_bytes Memory that the engine uses, sampled; 0 if it does not tell.
# TYPE token_server_engine_memory_bytes gauge
token_server_engine_memory_bytes 300000
# HELP token_server_engine_retries_total Commands that were sent again.
# TYPE token_server_engine_retries_total counter
token_server_engine_retries_total 1
# HELP token_server_engine_session_bytes Memory that a session takes in the engine, sampled; 0 if the engine does not tell.
# TYPE token_server_engine_session_bytes gauge
token_server_engine_session_bytes 280
# HELP token_server_engine_session_meta_bytes Usual size of a session's metadata.
# TYPE token_server_engine_session_meta_bytes gauge
token_server_engine_session_meta_bytes 200
# HELP token_server_engine_up 1 if the engine answers, labelled with what it is.
# TYPE token_server_engine_up gauge
token_server_engine_up{mode="cluster",role="primary",version="Valkey 9.1.0"} 1
`

func TestCollectorOfEngines(t *testing.T) {
	c := sampleCollector()
	store := c.store
	c.store = func() stats.Store {
		st := store()
		st.Engine = &stats.Engine{
			Up: true, Version: "Valkey 9.1.0", Mode: "cluster", Role: "primary", Connections: 2, InFlight: 3, Retries: 1, Late: 2, Lost: 4, MetaBytes: 200, SessionBytes: 280, Memory: 300_000, MaxMemory: 400_000,
			Durations: stats.Histogram{Bounds: []time.Duration{time.Millisecond}, Counts: []uint64{5, 1}, Sum: 500 * time.Millisecond},
			Errors:    []stats.KindCount{{Kind: "timeout", Count: 9}},
		}
		return st
	}
	if got, want := scrape(t, c), engineMetrics[1:]; !strings.Contains(got, want) {
		t.Errorf("metrics =\n%s\nwant among them\n%s", got, want)
	}
}

func TestCollectorBeforeTheFirstRequest(t *testing.T) {
	c := sampleCollector()
	c.requests = func() stats.Server { return stats.Server{} }
	got := scrape(t, c)
	if want := "token_server_request_duration_seconds_bucket{le=\"+Inf\"} 0\n"; !strings.Contains(got, want) {
		t.Errorf("metrics = %s, want %q among them", got, want)
	}
	if strings.Contains(got, "token_server_requests_total") {
		t.Errorf("metrics = %s, want no requests among them", got)
	}
}

func TestCollectorConventions(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, sampleCollector()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestCollectorReadsOnlyWhenScraped(t *testing.T) {
	reads := 0
	c := sampleCollector()
	store := c.store
	c.store = func() stats.Store { reads++; return store() }
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	if reads != 0 {
		t.Errorf("reads before the first scrape = %d, want 0", reads)
	}
	for want := 1; want <= 2; want++ {
		if _, err := registry.Gather(); err != nil || reads != want {
			t.Errorf("reads after scrape %d = %d (error %v), want %d", want, reads, err, want)
		}
	}
}

// A panic while statistics are read is reported without arguments.
func TestCollectorPanic(t *testing.T) {
	cfg := sampleConfig()
	cfg.Store = func() stats.Store { panicWith(0xfedcba9876543210); return stats.Store{} }
	_, url := start(t, cfg)
	status, body := do(t, "GET", url+"/metrics")
	if status != 500 || !strings.Contains(body, "panicWith(…)") || strings.Contains(body, "0x") && strings.Contains(body, "fedcba98") {
		t.Errorf("GET /metrics after a panic = %d %.500s, want 500 and a stack without arguments", status, body)
	}
}
