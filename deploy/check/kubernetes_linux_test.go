package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"tokenserver/internal/testneeds"
)

const manifests = "../kubernetes/"

// deployment is what a kustomization makes.
type deployment struct {
	stateful *appsv1.StatefulSet
	shared   *appsv1.Deployment
	service  corev1.Service
	budget   policyv1.PodDisruptionBudget

	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
}

// build builds a kustomization, and decodes all that it makes: what Kubernetes does not
// know, such as a field that is misspelt, fails the test.
func build(t *testing.T, dir string) *deployment {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, d.target(t, r.GetApiVersion()+" "+r.GetKind())); err != nil {
			t.Errorf("%s: %v\n%s", r.CurId(), err, text)
		}
	}
	switch {
	case d.stateful != nil:
		d.selector, d.template = d.stateful.Spec.Selector, d.stateful.Spec.Template
	case d.shared != nil:
		d.selector, d.template = d.shared.Spec.Selector, d.shared.Spec.Template
	default:
		t.Fatalf("%s has no workload", dir)
	}
	return d
}

func (d *deployment) target(t *testing.T, kind string) any {
	t.Helper()
	switch kind {
	case "apps/v1 StatefulSet":
		d.stateful = new(appsv1.StatefulSet)
		return d.stateful
	case "apps/v1 Deployment":
		d.shared = new(appsv1.Deployment)
		return d.shared
	case "v1 Service":
		return &d.service
	case "policy/v1 PodDisruptionBudget":
		return &d.budget
	}
	t.Fatalf("%s: not known to this test", kind)
	return nil
}

// TestManifestFiles: kustomize gives the manifests another form before TestManifests sees
// them, so that the files are decoded as they are too.
func TestManifestFiles(t *testing.T) {
	err := filepath.WalkDir(manifests, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "kustomization.yaml" {
			return err
		}
		var kind metav1.TypeMeta
		text := []byte(readFile(t, name))
		if err := yaml.Unmarshal(text, &kind); err != nil {
			return err
		}
		if err := yaml.UnmarshalStrict(text, new(deployment).target(t, kind.APIVersion+" "+kind.Kind)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestManifests(t *testing.T) {
	for _, mode := range []string{"durable", "shared"} {
		t.Run(mode, func(t *testing.T) {
			d := build(t, manifests+mode)
			d.checkSelectors(t)
			d.checkPod(t)
			c := &d.template.Spec.Containers[0]
			checkContainer(t, c)
			checkVolumes(t, d)
			dir := t.TempDir()
			credentials(t, dir)
			checkFlags(t, variablesOf(c), argsIn(c, dir))
		})
	}
	d := build(t, manifests+"durable")
	if got := *d.stateful.Spec.Replicas; got != 1 {
		t.Errorf("durable: %d replicas, want 1: each has sessions of its own", got)
	}
	if got := build(t, manifests+"shared"); *got.shared.Spec.Replicas < 2 || got.budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("shared: %d replicas, %v of them may be away, want 2 or more and 1", *got.shared.Spec.Replicas, got.budget.Spec.MaxUnavailable)
	}
}

// checkSelectors: service, budget and workload are about the same pods.
func (d *deployment) checkSelectors(t *testing.T) {
	t.Helper()
	if d.selector == nil || len(d.selector.MatchLabels) == 0 || d.budget.Spec.Selector == nil {
		t.Fatalf("no selector: %v, %v", d.selector, d.budget.Spec.Selector)
	}
	for name, labels := range map[string]map[string]string{
		"workload": d.selector.MatchLabels, "service": d.service.Spec.Selector, "budget": d.budget.Spec.Selector.MatchLabels,
	} {
		for key, want := range d.selector.MatchLabels {
			if labels[key] != want || d.template.Labels[key] != want {
				t.Errorf("%s: label %s is %q, and %q in the pod, want %q", name, key, labels[key], d.template.Labels[key], want)
			}
		}
	}
	for _, port := range d.service.Spec.Ports {
		portOf(t, &d.template.Spec.Containers[0], port.TargetPort.StrVal)
	}
}

func portOf(t *testing.T, c *corev1.Container, name string) {
	t.Helper()
	if !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name }) {
		t.Errorf("no port %q among %v", name, c.Ports)
	}
}

// checkPod: the pod runs as nobody special, and has the time that a stop may take.
func (d *deployment) checkPod(t *testing.T) {
	t.Helper()
	spec := d.template.Spec
	if c := spec.SecurityContext; c == nil || !*c.RunAsNonRoot || *c.RunAsUser == 0 || *c.FSGroup == 0 || c.SeccompProfile == nil {
		t.Errorf("security context of the pod: %v", c)
	}
	if *spec.AutomountServiceAccountToken || *spec.EnableServiceLinks {
		t.Error("the pod has a token of a service account, or variables of services")
	}
	delay := regexp.MustCompile(`--drain-delay=(\S+)`).FindStringSubmatch(strings.Join(spec.Containers[0].Args, " "))
	if delay == nil {
		t.Fatal("no drain delay")
	}
	drain, err := time.ParseDuration(delay[1])
	const requests = 10 * time.Second // that are under way
	if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; err != nil || grace <= drain+requests {
		t.Errorf("grace period %v, want more than %v, error %v", grace, drain+requests, err)
	}
}

func checkContainer(t *testing.T, c *corev1.Container) {
	t.Helper()
	if s := c.SecurityContext; s == nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("security context: %v", s)
	}
	for want, probe := range map[string]*corev1.Probe{"/readyz": c.ReadinessProbe, "/healthz": c.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != want {
			t.Fatalf("probe %v, want %s", probe, want)
		}
		portOf(t, c, probe.HTTPGet.Port.StrVal)
	}
	if !slices.Contains(variablesOf(c), "GOTRACEBACK=none") {
		t.Error("a crash would write arguments of functions into the log")
	}
}

// checkVolumes: files with secrets are read by the group alone, and all mounts have volumes.
func checkVolumes(t *testing.T, d *deployment) {
	t.Helper()
	var names []string
	for _, v := range d.template.Spec.Volumes {
		names = append(names, v.Name)
		if v.Secret == nil || *v.Secret.DefaultMode != 0o440 {
			t.Errorf("volume %s: %v, want a secret of mode 0440", v.Name, v.Secret)
		}
	}
	if d.stateful != nil {
		for _, claim := range d.stateful.Spec.VolumeClaimTemplates {
			names = append(names, claim.Name)
		}
	}
	for _, mount := range d.template.Spec.Containers[0].VolumeMounts {
		if !slices.Contains(names, mount.Name) {
			t.Errorf("no volume %q among %q", mount.Name, names)
		}
	}
}

// variablesOf returns the variables of a container, those from a secret with a value of ours.
func variablesOf(c *corev1.Container) (variables []string) {
	for _, v := range c.Env {
		value := v.Value
		if v.ValueFrom != nil {
			value = "secret"
		}
		variables = append(variables, v.Name+"="+value)
	}
	return variables
}

// argsIn returns a container's arguments, with dir in the place of its mounts.
func argsIn(c *corev1.Container, dir string) (args []string) {
	for _, arg := range c.Args {
		for _, mount := range c.VolumeMounts {
			arg = strings.ReplaceAll(arg, "="+mount.MountPath+"/", "="+dir+"/")
		}
		args = append(args, arg)
	}
	return args
}

// TestVolumeOfGroup starts the durable server as a pod does, with a volume and secrets of
// root's which the pod's group may use, and again with what is there then.
func TestVolumeOfGroup(t *testing.T) {
	testneeds.That(t, os.Geteuid() == 0, "this user is not root")
	d := build(t, manifests+"durable")
	pod, c := d.template.Spec.SecurityContext, &d.template.Spec.Containers[0]
	dir := stateDir(t)
	secret := credentials(t, dir)
	if err := os.Chown(dir, 0, int(*pod.FSGroup)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o775|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"auth", "cert.pem", "key.pem", "callers.pem"} {
		if err := os.Chown(filepath.Join(dir, name), 0, int(*pod.FSGroup)); err != nil {
			t.Fatal(err)
		}
	}
	args := append(argsIn(c, dir), "--port=0", "--admin-address=127.0.0.1:0", "--drain-delay=0", "--log-format=text")
	for range 2 {
		cmd := tokenServer(t, variablesOf(c), args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
			Uid: uint32(*pod.RunAsUser), Gid: uint32(*pod.RunAsGroup), Groups: []uint32{uint32(*pod.FSGroup)},
		}}
		s := startServer(t, cmd)
		if code, _ := s.scrape(secret); code != 200 {
			t.Errorf("scrape with a secret: status %d", code)
		}
		s.stop()
	}
}
