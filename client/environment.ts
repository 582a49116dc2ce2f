/**
 * FASTCHAT_PASSWORD and FASTCHAT_NEW_PASSWORD, taken out of the environment as soon as the program starts, so that no child ever inherits it (SECURITY
 * P11). Imported first by main.ts.
 */
export const environmentPassword: string | undefined = take("FASTCHAT_PASSWORD");
/** What `passwd` and `recover` change it to. */
export const environmentNewPassword: string | undefined = take("FASTCHAT_NEW_PASSWORD");

function take(name: string): string | undefined {
  const password = Deno.env.get(name);
  if (password !== undefined) Deno.env.delete(name);
  return password === "" ? undefined : password;
}
