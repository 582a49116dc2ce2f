/** Where programs keep their data when they are not told. Needs `--allow-env`. */

/**
 * The user's own data directory: `$XDG_DATA_HOME` or `~/.local/share` (Linux and other Unixes), `~/Library/Application
 * Support` (macOS), `%LOCALAPPDATA%` (Windows). It need not exist yet.
 *
 * @throws Error where the environment names no home directory: then the person must say `--data` or `--home`.
 */
export function userDataDirectory(
  os: typeof Deno.build.os = Deno.build.os,
  env: (name: string) => string | undefined = Deno.env.get,
): string {
  if (os === "windows") return env("LOCALAPPDATA") ?? `${home("USERPROFILE", env)}\\AppData\\Local`;
  if (os === "darwin") return `${home("HOME", env)}/Library/Application Support`;
  const xdg = env("XDG_DATA_HOME");
  // The XDG base directory specification: a relative path is invalid and to be ignored.
  if (xdg?.startsWith("/")) return xdg;
  return `${home("HOME", env)}/.local/share`;
}

function home(name: string, env: (name: string) => string | undefined): string {
  const path = env(name);
  if (!path) throw new Error(`Cannot find your home directory: the environment variable ${name} is not set`);
  return path;
}
