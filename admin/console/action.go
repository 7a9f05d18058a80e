package console

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/pprof"
	"strings"
	"time"
)

// ActionPath is what the paths of all actions begin with.
const ActionPath = "/actions/"

// callerKey is the key of a caller's name in a context.
type callerKey struct{}

// WithCaller returns a context that says who acts.
func WithCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

func callerOf(r *http.Request) string {
	name, _ := r.Context().Value(callerKey{}).(string)
	return name
}

// profileTime is how long a profile is made.
const profileTime = 10 * time.Second

// maxForm is the greatest size of a form: a subject, escaped.
const maxForm = 4096

// action is one that was asked for. It is carried out once it is confirmed.
type action struct {
	question string
	about    string // what the question is about, if it has to be read with care
	button   string
	name     string // of the value
	value    string
	do       func(http.ResponseWriter, *http.Request)
}

// actionPage is what action.html shows.
type actionPage struct {
	Title                          string
	Question                       string // empty for what was done
	About                          string // printable
	Path, Button, Name, Value, Say string
}

// registerActions adds the actions. The first request asks, with or without a script,
// and the second one, which has confirmed=yes, does it.
func (c *Console) registerActions(mux *http.ServeMux) {
	prepare := map[string]func(r *http.Request) (a action, problem string){
		"log-level":   c.logLevelAction,
		"end-subject": c.endSubjectAction,
	}
	if !c.cfg.Actions.NoProfiles {
		prepare["profile"] = c.profileAction
	}
	for path, prepare := range prepare {
		mux.HandleFunc("POST "+ActionPath+path, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				show(w, http.StatusBadRequest, actionPage{Title: "Not done", Say: "The form could not be read."})
				return
			}
			a, problem := prepare(r)
			switch {
			case problem != "":
				show(w, http.StatusBadRequest, actionPage{Title: "Not done", Say: problem})
			case r.PostForm.Get("confirmed") != "yes":
				show(w, http.StatusOK, actionPage{Title: "Really?", Question: a.question, About: Printable(a.about), Path: path, Button: a.button, Name: a.name, Value: a.value})
			default:
				a.do(w, r)
			}
		})
	}
}

func show(w http.ResponseWriter, status int, p actionPage) {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, "action.html", p); err != nil {
		panic(err)
	}
	setHeaders(w, "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text.Bytes())
}

func done(w http.ResponseWriter, say string) {
	show(w, http.StatusOK, actionPage{Title: "Done", Say: say})
}

// logLevels are those that can be chosen.
var logLevels = []string{"debug", "info", "warn", "error"}

func (c *Console) logLevelAction(r *http.Request) (a action, problem string) {
	name := r.PostForm.Get("level")
	for _, known := range logLevels {
		if name != known {
			continue
		}
		var level slog.Level
		if err := level.UnmarshalText([]byte(name)); err != nil {
			panic(err) // a known one
		}
		return action{
			question: "Set the level of the log to " + name + ", until the server is restarted or rereads its files?",
			button:   "Set the level", name: "level", value: name,
			do: func(w http.ResponseWriter, r *http.Request) {
				c.cfg.Actions.SetLogLevel(level)
				c.cfg.Logger.Warn("console: log level set", "level", name, "caller", callerOf(r))
				done(w, "The level of the log is "+name+".")
			},
		}, ""
	}
	return action{}, fmt.Sprintf("The level must be one of %s.", strings.Join(logLevels, ", "))
}

// maxSubject is the greatest length of a subject in bytes.
const maxSubject = 256

func (c *Console) endSubjectAction(r *http.Request) (a action, problem string) {
	subject := r.PostForm.Get("subject")
	if len(subject) == 0 || len(subject) > maxSubject {
		return action{}, fmt.Sprintf("A subject has 1 to %d bytes.", maxSubject)
	}
	return action{
		question: "End all sessions of this subject? Whoever has one has to log in again.",
		about:    subject,
		button:   "End the sessions", name: "subject", value: subject,
		do: func(w http.ResponseWriter, r *http.Request) {
			ended, err := c.cfg.Actions.EndSubject(r.Context(), []byte(subject))
			if err != nil {
				show(w, http.StatusServiceUnavailable, actionPage{Title: "Not done", Say: "The store does not answer: some of the sessions may go on. Try again."})
				return
			}
			c.cfg.Logger.Warn("console: sessions of a subject ended", "sessions", ended, "caller", callerOf(r))
			done(w, fmt.Sprintf("%s of the subject ended.", things(ended, "session")))
		},
	}, ""
}

func things(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(int64(n)) + " " + thing + "s"
}

func (c *Console) profileAction(*http.Request) (a action, problem string) {
	return action{
		question: "Make a CPU profile of " + span(profileTime.Seconds()) + "? The server is a little slower meanwhile, and the file comes at its end.",
		button:   "Make the profile",
		do:       c.profile,
	}, ""
}

// profile answers with a CPU profile, once it is made.
func (c *Console) profile(w http.ResponseWriter, r *http.Request) {
	var data bytes.Buffer
	if err := pprof.StartCPUProfile(&data); err != nil {
		show(w, http.StatusConflict, actionPage{Title: "Not done", Say: "Another profile is being made."})
		return
	}
	timer := time.NewTimer(c.profileTime)
	defer timer.Stop()
	ended := false
	select {
	case <-timer.C:
		ended = true
	case <-r.Context().Done():
	case <-c.closing:
	}
	pprof.StopCPUProfile()
	if !ended {
		show(w, http.StatusServiceUnavailable, actionPage{Title: "Not done", Say: "The server stops."})
		return
	}
	c.cfg.Logger.Warn("console: CPU profile made", "caller", callerOf(r))
	setHeaders(w, "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="token-server-cpu.pprof"`)
	w.Write(data.Bytes())
}
