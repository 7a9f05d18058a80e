package server

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"tokenserver/access"
	"tokenserver/internal/testcert"
)

// setting is how servers and clients of tests meet, beside TCP where everybody may call.
// Only TestContractInSettings sets it, while no other test runs.
var setting struct {
	guard         *access.Guard
	authorization string // that requests have unless they say otherwise
	server        *tls.Config
	client        *tls.Config
	unix          bool
}

// TestContractInSettings runs tests of the contract with callers, over TLS, and on unix
// sockets.
func TestContractInSettings(t *testing.T) {
	defer func() {
		setting.guard, setting.authorization, setting.server, setting.client, setting.unix = nil, "", nil, nil, false
	}()
	caller := newCallers(t)
	certs := newCertificates(t)
	settings := []struct {
		name string
		set  func()
	}{
		{"secrets", func() { setting.guard, setting.authorization = caller.guard, "Bearer "+caller.secrets["admin"] }},
		{"certificates", func() {
			setting.guard, setting.server, setting.client = certs.guard, certs.server, certs.client("ops", 0)
		}},
		{"TLS 1.2", func() { setting.server, setting.client = certs.server, certs.client("ops", tls.VersionTLS12) }},
		{"unix", func() { setting.server, setting.client, setting.unix = nil, nil, true }},
		{"unix and TLS", func() { setting.server, setting.client, setting.unix = certs.server, certs.client("ops", 0), true }},
	}
	for _, each := range settings {
		t.Run(each.name, func(t *testing.T) {
			setting.guard, setting.authorization, setting.server, setting.client, setting.unix = nil, "", nil, nil, false
			each.set()
			for name, test := range contractTests {
				t.Run(name, test)
			}
		})
	}
}

// contractTests are tests of whole requests, whoever sends them in whatever way.
var contractTests = map[string]func(*testing.T){
	"Auth": TestAuth, "AuthCredential": TestAuthCredential, "AuthHeaders": TestAuthHeaders, "AuthMembers": TestAuthMembers,
	"AuthRefused": TestAuthRefused, "AuthTooLarge": TestAuthTooLarge,
	"Batches": TestContractInBatches, "Create": TestCreate, "Exchange": TestExchange, "Unset": TestUnset,
	"ExchangeHeaders": TestExchangeHeaders, "Delete": TestDelete, "Validate": TestValidate,
	"Batch": TestBatch, "BatchItemErrors": TestBatchItemErrors, "BatchRefused": TestBatchRefused, "BatchWithoutStore": TestBatchWithoutStore,
	"BatchTooLarge": TestBatchTooLarge, "BatchesInAPipeline": TestBatchesInAPipeline,
	"EveryInvalidToken": TestEveryInvalidTokenGetsTheSameAnswer, "OrderOfChecks": TestOrderOfChecks,
	"BadRequestsSpendNothing": TestBadRequestsSpendNothing, "Done": TestDone, "InvalidRequest": TestInvalidRequest,
	"MediaTypes": TestMediaTypes, "NoContentType": TestNoContentType, "MalformedJSON": TestMalformedJSON,
	"UnknownPaths": TestUnknownPaths, "Asterisk": TestAsterisk, "MethodNotAllowed": TestMethodNotAllowed,
	"MethodNotAllowedWithBody": TestMethodNotAllowedWithBody, "Health": TestHealth, "NotReady": TestNotReady,
	"Drain": TestDrain, "DumpIsWritten": TestDumpIsWritten, "DumpOff": TestDumpOff, "DumpIsOnlyHead": TestDumpIsOnlyHead,
	"SubjectSessions": TestSubjectSessions, "SubjectRefused": TestSubjectRefused, "EndSubject": TestEndSubject,
	"EndSession": TestEndSession, "EndOthers": TestEndOthers, "GraceHeaders": TestGraceHeaders,
	"BodyTooLarge": TestBodyTooLarge, "HeadersTooLarge": TestHeadersTooLarge, "Pipeline": TestPipeline,
	"StoreFull": TestStoreFullOfSessions, "StoreUnavailable": TestStoreUnavailable, "MetaTooLarge": TestMetaTooLarge,
	"Panic": TestPanic, "IdleTimeout": TestIdleTimeout, "Winner": testFewWinners,
	"RefusedWhileStillSending": TestRefusedWhileStillSending, "ShutdownAnswersWhatIsInFlight": TestShutdownAnswersWhatIsInFlight,
	"ShutdownClosesIdleConnections": TestShutdownClosesIdleConnections,
}

func networkOfTests() string {
	if setting.unix {
		return "unix"
	}
	return "tcp"
}

// listen listens as the setting says.
func listen(t testing.TB) net.Listener {
	t.Helper()
	address := "127.0.0.1:0"
	if setting.unix {
		address = filepath.Join(t.TempDir(), "socket")
	}
	ln, err := net.Listen(networkOfTests(), address)
	if err != nil {
		t.Fatal(err)
	}
	if setting.server != nil {
		ln = tls.NewListener(ln, setting.server)
	}
	return ln
}

// dialAddress connects as the setting says.
func dialAddress(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(networkOfTests(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if setting.client != nil {
		return tls.Client(conn, setting.client)
	}
	return conn
}

// callers are callers with a secret each, by the names of their roles.
type callers struct {
	guard   *access.Guard
	secrets map[string]string
}

func newCallers(t testing.TB) callers {
	t.Helper()
	c, text := callers{secrets: make(map[string]string)}, ""
	for name, roles := range map[string]string{"tokens": "", "metrics": ":metrics", "admin": ":admin"} {
		secret, line, err := access.NewSecret(name)
		if err != nil {
			t.Fatal(err)
		}
		c.secrets[name], text = secret, text+line+roles+"\n"
	}
	s, err := access.ParseSecrets([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c.guard = access.NewGuard(s, nil)
	return c
}

// certificates are those of an authority. The caller named ops is an admin.
type certificates struct {
	t         testing.TB
	authority *testcert.Authority
	clients   *access.Authorities
	guard     *access.Guard
	tls       *access.TLS
	server    *tls.Config // which requires a certificate
}

func newCertificates(t testing.TB) *certificates {
	t.Helper()
	c := &certificates{t: t, authority: testcert.NewAuthority(t)}
	c.clients = c.trust(c.authority)
	c.guard = access.NewGuard(nil, c.clients)
	c.tls = access.NewTLS(access.Identity{Certificate: c.authority.Issue("server").TLS(t), Clients: c.clients})
	c.server = c.tls.Config(tls.RequireAndVerifyClientCert)
	return c
}

func (c *certificates) trust(a *testcert.Authority) *access.Authorities {
	c.t.Helper()
	authorities, err := access.ParseAuthorities(a.PEM, []string{"ops"})
	if err != nil {
		c.t.Fatal(err)
	}
	return authorities
}

// client returns the settings of a client with a certificate, and with a greatest
// version of TLS, or 0.
func (c *certificates) client(name string, version uint16, options ...testcert.Option) *tls.Config {
	c.t.Helper()
	return &tls.Config{
		RootCAs: c.authority.Pool(), ServerName: "127.0.0.1", MaxVersion: version,
		Certificates: []tls.Certificate{c.authority.Issue(name, options...).TLS(c.t)},
	}
}
