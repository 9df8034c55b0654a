/*
 * What the API has and this bridge not yet: a client is told so, which is more use to it than a 404
 * or an answer that is not true.
 */
#include "bridge/api/route.h"

static void later(struct call *c, const char *what)
{
	call_error_with(
		c, 501, ",\"code\":\"not_implemented\"", "%s not built into this bridge yet", what);
}

static void on_templates(struct call *c)
{
	later(c, "templates are");
}

static void on_images(struct call *c)
{
	later(c, "images are");
}

static void on_snapshots(struct call *c)
{
	later(c, "snapshots are");
}

static void on_secrets(struct call *c)
{
	later(c, "secret stores are");
}

static void on_preview(struct call *c)
{
	later(c, "preview URLs are");
}

static void on_autoscale(struct call *c)
{
	later(c, "scaling by itself is");
}

static void on_mounts(struct call *c)
{
	later(c, "mounts are");
}

static void on_usage(struct call *c)
{
	later(c, "usage reports are");
}

static void on_logs(struct call *c)
{
	later(c, "sandbox logs are");
}

static void on_webhooks(struct call *c)
{
	later(c, "webhooks are");
}

static void on_migrate(struct call *c)
{
	later(c, "moving sandboxes to other workers is");
}

static void on_identity(struct call *c)
{
	later(c, "identities other than API keys are");
}

#define OF_SANDBOX (R_SANDBOX | R_TOKEN)

const struct route routes_later[] = {
	{CALL_POST, "/templates", 0, on_templates, "createTemplate"},
	{CALL_GET, "/templates", 0, on_templates, "listTemplates"},
	{CALL_GET, "/templates/:name", 0, on_templates, "getTemplate"},
	{CALL_DELETE, "/templates/:name", 0, on_templates, "deleteTemplate"},

	{CALL_GET, "/images", 0, on_images, "listImages"},
	{CALL_GET, "/images/:name/patches", 0, on_images, "listImagePatches"},
	{CALL_POST, "/images/:name/patches", 0, on_images, "createImagePatch"},

	{CALL_POST, "/snapshots", 0, on_snapshots, "createSnapshot"},
	{CALL_GET, "/snapshots", 0, on_snapshots, "listSnapshots"},
	{CALL_GET, "/snapshots/:name", 0, on_snapshots, "getSnapshot"},
	{CALL_DELETE, "/snapshots/:name", 0, on_snapshots, "deleteSnapshot"},
	{CALL_POST, "/snapshots/:name/publish", 0, on_snapshots, "publishSnapshot"},
	{CALL_POST, "/snapshots/:name/unpublish", 0, on_snapshots, "unpublishSnapshot"},
	{CALL_POST, "/snapshots/:name/patches", 0, on_snapshots, "createSnapshotPatch"},
	{CALL_GET, "/snapshots/:name/patches", 0, on_snapshots, "listSnapshotPatches"},
	{CALL_DELETE, "/snapshots/:name/patches/:patch", 0, on_snapshots, "deleteSnapshotPatch"},

	{CALL_POST, "/secret-stores", 0, on_secrets, "createSecretStore"},
	{CALL_GET, "/secret-stores", 0, on_secrets, "listSecretStores"},
	{CALL_GET, "/secret-stores/:store", 0, on_secrets, "getSecretStore"},
	{CALL_PUT, "/secret-stores/:store", 0, on_secrets, "updateSecretStore"},
	{CALL_DELETE, "/secret-stores/:store", 0, on_secrets, "deleteSecretStore"},
	{CALL_PUT, "/secret-stores/:store/secrets/:name", 0, on_secrets, "setSecret"},
	{CALL_GET, "/secret-stores/:store/secrets", 0, on_secrets, "listSecrets"},
	{CALL_DELETE, "/secret-stores/:store/secrets/:name", 0, on_secrets, "deleteSecret"},
	{CALL_GET, "/sandboxes/:id/allowed-hosts", OF_SANDBOX, on_secrets, "getAllowedHosts"},

	{CALL_POST, "/sandboxes/:id/preview", OF_SANDBOX, on_preview, "createPreview"},
	{CALL_GET, "/sandboxes/:id/preview", OF_SANDBOX, on_preview, "listPreviews"},
	{CALL_DELETE, "/sandboxes/:id/preview/:port", OF_SANDBOX, on_preview, "deletePreview"},
	{CALL_POST, "/sandboxes/:id/preview/rotate", OF_SANDBOX, on_preview, "rotatePreviewToken"},

	{CALL_PUT, "/sandboxes/:id/autoscale", OF_SANDBOX, on_autoscale, "setAutoscale"},
	{CALL_GET, "/sandboxes/:id/autoscale", OF_SANDBOX, on_autoscale, "getAutoscale"},

	{CALL_POST, "/sandboxes/:id/mounts", OF_SANDBOX, on_mounts, "createMount"},
	{CALL_GET, "/sandboxes/:id/mounts", OF_SANDBOX, on_mounts, "listMounts"},
	{CALL_DELETE, "/sandboxes/:id/mounts", OF_SANDBOX, on_mounts, "deleteMount"},

	{CALL_GET, "/usage", 0, on_usage, "getUsage"},
	{CALL_GET, "/sandboxes/:id/usage", OF_SANDBOX, on_usage, "getSandboxUsage"},
	{CALL_GET, "/sandboxes/:id/logs", OF_SANDBOX, on_logs, "getSandboxLogs"},

	{CALL_POST, "/webhooks", 0, on_webhooks, "createWebhook"},
	{CALL_GET, "/webhooks", 0, on_webhooks, "listWebhooks"},
	{CALL_GET, "/webhooks/:webhook", 0, on_webhooks, "getWebhook"},
	{CALL_PATCH, "/webhooks/:webhook", 0, on_webhooks, "updateWebhook"},
	{CALL_DELETE, "/webhooks/:webhook", 0, on_webhooks, "deleteWebhook"},
	{CALL_GET, "/webhooks/:webhook/secret", 0, on_webhooks, "getWebhookSecret"},
	{CALL_POST, "/webhooks/:webhook/test", 0, on_webhooks, "testWebhook"},
	{CALL_GET, "/webhooks/:webhook/deliveries", 0, on_webhooks, "listDeliveries"},
	{CALL_GET, "/webhooks/:webhook/deliveries/:delivery", 0, on_webhooks, "getDelivery"},
	{CALL_POST, "/webhooks/:webhook/deliveries/:delivery/redeliver", 0, on_webhooks,
		"redeliver"},

	{CALL_POST, "/sandboxes/:id/migrate", OF_SANDBOX, on_migrate, "migrateSandbox"},
	{CALL_POST, "/auth/token", 0, on_identity, "createIdentityToken"},
	{0},
};
