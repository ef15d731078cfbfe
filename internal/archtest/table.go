package archtest

var none = []string{}

// table is the architecture. Floors from below:
//
//	0  vocabulary and pure rules, codecs, the device messages
//	1  contracts: store, bus, keys, what all fronts share
//	2  domain services, and the adapters that fulfil the contracts
//	3  the pipeline of a sign-in, and what changes people and their devices
//	4  fronts: one protocol each, translation only
//	5  the server: the one place where parts are put together
//	6  the command line
//	7  programs
//
// client and authenticator are public and stand outside: they know the server only by its
// protocols.
var table = []Rule{
	{
		Package: "internal/mfa", External: none,
		Never: []string{"net/http/...", "database/sql/...", "log/slog/...", "os/..."},
	},
	{Package: "internal/wire/..."},
	{Package: "internal/secret"},
	{Package: "internal/disk"},
	{Package: "internal/checkup"},
	{Package: "internal/lifecycle"},
	{
		Package:  "protocol",
		External: []string{"github.com/go-jose/go-jose/v4/...", "github.com/go-json-experiment/json/..."},
	},

	{Package: "internal/store", Floor: 1},
	{Package: "internal/bus", Floor: 1},
	{Package: "internal/keys", Floor: 1},
	{Package: "internal/egress", Floor: 1, May: Call},
	{Package: "internal/notice", Floor: 1},
	{Package: "internal/backup", Floor: 1, By: []string{"internal/server", "internal/cli"}},
	{
		Package: "internal/front/httpkit", Floor: 1, By: []string{"internal/front/...", "internal/server", "internal/telemetry"},
		May: Serve,
	},

	{Package: "internal/realm", Floor: 2},
	{Package: "internal/user", Floor: 2},
	{Package: "internal/device", Floor: 2},
	{Package: "internal/challenge", Floor: 2},
	{Package: "internal/factor", Floor: 2},
	{Package: "internal/factor/password", Floor: 2},
	{Package: "internal/factor/totp", Floor: 2},
	{Package: "internal/factor/backup", Floor: 2},
	{Package: "internal/factor/bypass", Floor: 2},
	{Package: "internal/guard", Floor: 2},
	{Package: "internal/policy", Floor: 2},
	{Package: "internal/session", Floor: 2},
	{Package: "internal/application", Floor: 2},
	{Package: "internal/audit", Floor: 2},
	{Package: "internal/replay", Floor: 2},
	{Package: "internal/certificate", Floor: 2, By: []string{"internal/server"}, May: Call},
	{Package: "internal/deliver", Floor: 2},
	{Package: "internal/doctor", Floor: 2, By: []string{"internal/server"}, May: Call},

	{
		Package: "internal/store/sqlstore", Floor: 2, By: []string{"internal/server"},
		Only: append([]string{"internal/store"}, ground...), May: Database | Postgres | Drivers,
	},
	{
		Package: "internal/bus/local", Floor: 2, By: []string{"internal/server"},
		Only: append([]string{"internal/bus"}, ground...),
	},
	{
		Package: "internal/bus/pgnotify", Floor: 2, By: []string{"internal/server"},
		Only: append([]string{"internal/bus"}, ground...), May: Postgres,
	},

	{
		Package: "internal/notice/webhook", Floor: 2, By: []string{"internal/server"},
		Only: append([]string{"internal/notice", "internal/egress"}, ground...),
	},
	{
		Package: "internal/sink/syslog", Floor: 2, By: []string{"internal/server"},
		Only: append([]string{"internal/store"}, ground...), May: Call,
	},
	{
		Package: "internal/sink/file", Floor: 2, By: []string{"internal/server"},
		Only: append([]string{"internal/store"}, ground...),
	},

	{Package: "internal/authn", Floor: 3},
	{Package: "internal/account", Floor: 3},
	{Package: "internal/feed", Floor: 3, By: []string{"internal/server"}},
	{Package: "internal/telemetry", Floor: 3, By: []string{"internal/server"}, May: Serve},
	{Package: "internal/endpoint", Floor: 3},

	{Package: "internal/front/rest", Floor: 4, Never: behindServices, May: Serve},
	{Package: "internal/front/device", Floor: 4, Never: behindServices, May: Serve},
	{Package: "internal/front/login", Floor: 4, Never: behindServices, May: Serve},

	{Package: "internal/server", Floor: 5, May: Serve | Process},

	{Package: "internal/cli", Floor: 6, May: Process},
	{Package: "internal/cli/...", Floor: 6, May: Process},
	{
		// The demonstration proves what an outsider could do, so it has nothing that an
		// outsider has not, except that it starts the server.
		Package: "internal/cli/demo", Floor: 6,
		Only: []string{"internal/server", "client", "authenticator", "protocol"},
	},

	{Package: "cmd/nod", Floor: 7, Only: []string{"internal/cli"}},

	{Package: "client", Only: none, By: outsiders, May: Call},
	{Package: "authenticator", Only: []string{"protocol"}, By: outsiders, May: Call},
	{
		Package: "examples/...", Floor: 7, Only: []string{"client", "authenticator", "protocol"},
		May: Serve | Call | Process,
	},

	{Package: "internal/archtest", Test: true},
	{Package: "internal/bus/bustest", Test: true},
	{Package: "internal/pgtest", Test: true, May: Database | Postgres | Process},
	{Package: "internal/store/storetest", Test: true},
	{Package: "bench/...", Test: true, May: Serve | Call | Process | Database | Postgres | Drivers},
	{Package: "test/...", Test: true, May: Serve | Call | Process},
}

var (
	// ground is floor 0, for adapters: they know their contract and the words, no service.
	ground = []string{"internal/mfa", "internal/wire/...", "internal/secret", "internal/disk", "internal/checkup", "internal/lifecycle", "protocol"}

	// behindServices is what a front reaches only through a service.
	behindServices = []string{"internal/store/...", "internal/bus/..."}

	// outsiders are the packages that use nod as its users do.
	outsiders = []string{"internal/cli/...", "examples/..."}
)

// restricted are the imports and the names that need a right, any one of those in needs.
var restricted = []struct {
	pattern string
	needs   Right
	why     string
}{
	{"database/sql/...", Database, onlyStore},
	{"modernc.org/sqlite/...", Database, onlyStore},
	{"zombiezen.com/go/sqlite/...", Database, onlyStore},
	{"github.com/pressly/goose/v3/...", Database, onlyStore},
	{"github.com/jackc/pgx/v5/...", Postgres, "only internal/store/sqlstore and internal/bus/pgnotify speak to PostgreSQL"},

	{"net/http/...", Serve | Call, "HTTP belongs to the fronts and the server, and to egress, client and authenticator"},
	{"net/http.DefaultServeMux", Serve, onlyFronts},
	{"net/http.Handle", Serve, onlyFronts},
	{"net/http.HandleFunc", Serve, onlyFronts},
	{"net/http.ListenAndServe", Serve, onlyFronts},
	{"net/http.ListenAndServeTLS", Serve, onlyFronts},
	{"net/http.NewServeMux", Serve, onlyFronts},
	{"net/http.Serve", Serve, onlyFronts},
	{"net/http.ServeMux", Serve, onlyFronts},
	{"net/http.ServeTLS", Serve, onlyFronts},
	{"net/http.Server", Serve, onlyFronts},
	{"net.FileListener", Serve, onlyFronts},
	{"net.Listen", Serve, onlyFronts},
	{"net.ListenConfig", Serve, onlyFronts},
	{"net.ListenPacket", Serve, onlyFronts},
	{"net.ListenTCP", Serve, onlyFronts},
	{"net.ListenUDP", Serve, onlyFronts},
	{"net.ListenUnix", Serve, onlyFronts},

	{"net/http.Client", Call, onlyCallers},
	{"net/http.DefaultClient", Call, onlyCallers},
	{"net/http.DefaultTransport", Call, onlyCallers},
	{"net/http.Get", Call, onlyCallers},
	{"net/http.Head", Call, onlyCallers},
	{"net/http.NewRequest", Call, onlyCallers},
	{"net/http.NewRequestWithContext", Call, onlyCallers},
	{"net/http.Post", Call, onlyCallers},
	{"net/http.PostForm", Call, onlyCallers},
	{"net/http.Transport", Call, onlyCallers},
	{"net.Dial", Call, onlyCallers},
	{"net.DialTCP", Call, onlyCallers},
	{"net.DialTimeout", Call, onlyCallers},
	{"net.DialUDP", Call, onlyCallers},
	{"net.DialUnix", Call, onlyCallers},
	{"net.Dialer", Call, onlyCallers},

	{"flag", Process, onlyProcess},
	{"os/signal", Process, onlyProcess},
	{"os.Environ", Process, onlyProcess},
	{"os.ExpandEnv", Process, onlyProcess},
	{"os.Getenv", Process, onlyProcess},
	{"os.LookupEnv", Process, onlyProcess},
	{"os.Setenv", Process, onlyProcess},
	{"os.Unsetenv", Process, onlyProcess},
	{"syscall.Environ", Process, onlyProcess},
	{"syscall.Getenv", Process, onlyProcess},
}

const (
	onlyStore   = "only internal/store/sqlstore speaks SQL"
	onlyFronts  = "only the fronts and the server take requests"
	onlyCallers = "only egress, client and authenticator call out"
	onlyProcess = "only the server and the command line read environment, flags and signals; others have a Config"
)
