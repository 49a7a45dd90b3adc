/** Signedfor through plain @temporalio/client; the names and rules are those of docs/contract.md. */

import {
  ApplicationFailure,
  type Client,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  type WorkflowHandle,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from "@temporalio/client";
import { defineSearchAttributeKey, SearchAttributeType } from "@temporalio/common";

import type {
  CancelRequest,
  CancelResult,
  MessageReport,
  MessageRequest,
  Priority,
  Progress,
} from "./contract.js";

const priorityKeys: Record<Priority, number> = { urgent: 1, normal: 3, bulk: 5 };
const messageStatus = defineSearchAttributeKey("MessageStatus", SearchAttributeType.KEYWORD);

type SendMessage = (request: MessageRequest) => Promise<MessageReport>;

/** One bad field and what is wrong with it; never its value. */
export interface FieldProblem {
  field: string;
  problem: string;
}

/** The message cannot be sent; `problems` names every bad field. */
export class BadInput extends Error {
  constructor(readonly problems: FieldProblem[]) {
    super(problems.map(({ field, problem }) => `${field}: ${problem}`).join("; "));
  }
}

/** Sends messages, reads their reports and cancels them. */
export class Signedfor {
  constructor(private readonly temporal: Client) {}

  /** Resolves when Temporal has the message; with an ID that was used before, nothing is sent. */
  async send(messageId: string, request: MessageRequest): Promise<void> {
    try {
      await this.temporal.workflow.start<SendMessage>("SendMessage", {
        workflowId: `message:${messageId}`,
        taskQueue: "messages",
        args: [request],
        // The first policy is for a message that is running, the second for one that has ended.
        workflowIdConflictPolicy: "USE_EXISTING",
        workflowIdReusePolicy: "REJECT_DUPLICATE",
        priority: { priorityKey: priorityKeys[request.priority ?? "normal"] },
        // Makes operators see the status from the start, and at every stage.
        typedSearchAttributes: [{ key: messageStatus, value: "sending" }],
      });
    } catch (error) {
      // The message was accepted earlier and has ended.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  /** Resolves when the message has ended, which can take hours; rejects with `BadInput`. */
  async report(messageId: string): Promise<MessageReport> {
    try {
      return await this.workflow(messageId).result();
    } catch (error) {
      throw (error instanceof WorkflowFailedError && badInputIn(error.cause)) || error;
    }
  }

  /** Where the message stands; a worker answers. */
  progress(messageId: string): Promise<Progress> {
    return this.workflow(messageId).query<Progress>("progress");
  }

  /** Resolves when it is certain whether the message was canceled. */
  async cancel(messageId: string, request: CancelRequest = {}): Promise<CancelResult> {
    const workflow = this.workflow(messageId);
    try {
      return await workflow.executeUpdate<CancelResult, [CancelRequest]>("cancel", {
        args: [request],
      });
    } catch (error) {
      const isRefused = error instanceof WorkflowUpdateFailedError;
      if (!isRefused && !(error instanceof WorkflowNotFoundError)) throw error;
      const badInput = isRefused && badInputIn(error.cause);
      if (badInput) throw badInput;
      // Usually it had ended, or ended in the same moment. Its report then says how.
      if ((await workflow.describe()).status.name === "RUNNING") throw error;
      const { outcome } = await this.report(messageId);
      return { canceled: outcome === "canceled", status: outcome };
    }
  }

  private workflow(messageId: string): WorkflowHandle<SendMessage> {
    return this.temporal.workflow.getHandle<SendMessage>(`message:${messageId}`);
  }
}

function badInputIn(cause: unknown): BadInput | undefined {
  if (!(cause instanceof ApplicationFailure) || cause.type !== "InvalidInput") return undefined;
  return new BadInput((cause.details?.[0] ?? []) as FieldProblem[]);
}
