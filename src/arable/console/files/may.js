// Whether whoever is signed in may do what a button would do. Asked here alone; the API told the permissions, and judges all the same.

// The first that fits says it; what has null takes nobody's permission, since it is one's own.
const NEEDS = [
  [/^\/v1\/machines\/[^/]+\/console$/, "machine:console"],
  [/^\/v1\/(?:machines\/[^/]+\/(?:move|cancel-move)|volumes\/[^/]+\/(?:migrate|cancel-migration)|accounts\/[^/]+\/federate|images\/[^/]+\/versions\/from-files)$/, "infra:write"],
  [/^\/v1\/(?:prices|accounts\/[^/]+\/credit|orders\/[^/]+\/(?:approve|refuse))$/, "billing:write"],
  [/^\/v1\/(?:users\/[^/]+\/password|sessions|keys\/[^/]+|grid\/sign-on)(?:\/|$)/, null],
  [/^\/v1\/keys$/, "key:write"],
  [/^\/v1\/(?:users|domains|accounts)(?:\/|$)/, "account:write"],
  [/^\/v1\/(?:machines|nics|groups|ssh-keys)(?:\/|$)/, "machine:write"],
  [/^\/v1\/(?:networks|addresses|rules|balancers|vpns|remote-accesses|vpn-clients)(?:\/|$)/, "network:write"],
  [/^\/v1\/(?:volumes|snapshots|storage-zones)(?:\/|$)/, "volume:write"],
  [/^\/v1\/(?:blueprints|farms|tiers|rollouts|elements|secrets|orders)(?:\/|$)/, "farm:write"],
  [/^\/v1\/(?:images|image-parts|image-uploads|image-catalogue)(?:\/|$)/, "image:write"],
  [/^\/v1\/(?:offerings|disk-offerings|plans)(?:\/|$)/, "catalogue:write"],
];

let permissions = new Set();

/** What the API said of whoever signed in. */
export function know(who) {
  permissions = new Set(who?.permissions ?? []);
}

/** The permission that a change takes. What is not a customer's or the accounts' is the operators'. */
export function needs(path) {
  const found = NEEDS.find(([pattern]) => pattern.test(path));
  return found ? found[1] : "infra:write";
}

/** Whether one may send a change there. A path that begins with no `/` is a permission itself. */
export function may(path) {
  const needed = path.startsWith("/") ? needs(path) : path;
  return needed === null || permissions.has(needed);
}
