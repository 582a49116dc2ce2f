/**
 * FASTCHAT_PASSWORD, taken out of the environment as soon as the program starts, so that no child ever inherits it (SECURITY
 * P11). Imported first by main.ts.
 */
export const environmentPassword: string | undefined = take();

function take(): string | undefined {
  const password = Deno.env.get("FASTCHAT_PASSWORD");
  if (password !== undefined) Deno.env.delete("FASTCHAT_PASSWORD");
  return password === "" ? undefined : password;
}
