export const VERSION = "0.1.0";
export const AGENT = `auditctl-node/${VERSION}`;
export const HELLO = `{"hello":{"client":"${AGENT}"}}\n`;
