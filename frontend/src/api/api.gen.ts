import { baseApi as api } from "@/api/base-api";
export const addTagTypes = [
  "auth",
  "instances",
  "provision",
  "destroy",
  "exec",
  "hibernate",
  "snapshots",
  "wake",
  "machines",
  "models",
  "market",
  "pools",
  "storage",
  "standby",
  "failover",
  "usage",
  "webhooks",
] as const;
const injectedRtkApi = api
  .enhanceEndpoints({
    addTagTypes,
  })
  .injectEndpoints({
    endpoints: (build) => ({
      showDefaults: build.query<ShowDefaultsApiResponse, ShowDefaultsApiArg>({
        query: () => ({ url: `/auth/defaults` }),
        providesTags: ["auth"],
      }),
      setDefaults: build.mutation<SetDefaultsApiResponse, SetDefaultsApiArg>({
        query: (queryArg) => ({
          url: `/auth/defaults`,
          method: "PUT",
          body: queryArg.defaultsBody,
        }),
        invalidatesTags: ["auth"],
      }),
      listKeys: build.query<ListKeysApiResponse, ListKeysApiArg>({
        query: () => ({ url: `/auth/keys` }),
        providesTags: ["auth"],
      }),
      createKey: build.mutation<CreateKeyApiResponse, CreateKeyApiArg>({
        query: (queryArg) => ({
          url: `/auth/keys`,
          method: "POST",
          body: queryArg.keyRequest,
        }),
        invalidatesTags: ["auth"],
      }),
      revokeKey: build.mutation<RevokeKeyApiResponse, RevokeKeyApiArg>({
        query: (queryArg) => ({
          url: `/auth/keys/${queryArg.key}`,
          method: "DELETE",
        }),
        invalidatesTags: ["auth"],
      }),
      login: build.mutation<LoginApiResponse, LoginApiArg>({
        query: (queryArg) => ({
          url: `/auth/login`,
          method: "POST",
          body: queryArg.loginRequest,
        }),
        invalidatesTags: ["auth"],
      }),
      logout: build.mutation<LogoutApiResponse, LogoutApiArg>({
        query: (queryArg) => ({
          url: `/auth/logout`,
          method: "POST",
          body: queryArg.refreshRequest,
        }),
        invalidatesTags: ["auth"],
      }),
      whoAmI: build.query<WhoAmIApiResponse, WhoAmIApiArg>({
        query: () => ({ url: `/auth/me` }),
        providesTags: ["auth"],
      }),
      refreshSession: build.mutation<
        RefreshSessionApiResponse,
        RefreshSessionApiArg
      >({
        query: (queryArg) => ({
          url: `/auth/refresh`,
          method: "POST",
          body: queryArg.refreshRequest,
        }),
        invalidatesTags: ["auth"],
      }),
      listSessions: build.query<ListSessionsApiResponse, ListSessionsApiArg>({
        query: () => ({ url: `/auth/sessions` }),
        providesTags: ["auth"],
      }),
      endOtherSessions: build.mutation<
        EndOtherSessionsApiResponse,
        EndOtherSessionsApiArg
      >({
        query: (queryArg) => ({
          url: `/auth/sessions/end-others`,
          method: "POST",
          body: queryArg.refreshRequest,
        }),
        invalidatesTags: ["auth"],
      }),
      endSession: build.mutation<EndSessionApiResponse, EndSessionApiArg>({
        query: (queryArg) => ({
          url: `/auth/sessions/${queryArg.session}`,
          method: "DELETE",
        }),
        invalidatesTags: ["auth"],
      }),
      listSshKeys: build.query<ListSshKeysApiResponse, ListSshKeysApiArg>({
        query: () => ({ url: `/auth/ssh-keys` }),
        providesTags: ["auth"],
      }),
      setSshKeys: build.mutation<SetSshKeysApiResponse, SetSshKeysApiArg>({
        query: (queryArg) => ({
          url: `/auth/ssh-keys`,
          method: "PUT",
          body: queryArg.sshKeysBody,
        }),
        invalidatesTags: ["auth"],
      }),
      createUser: build.mutation<CreateUserApiResponse, CreateUserApiArg>({
        query: (queryArg) => ({
          url: `/auth/users`,
          method: "POST",
          body: queryArg.createUserRequest,
        }),
        invalidatesTags: ["auth"],
      }),
      recentEvents: build.query<RecentEventsApiResponse, RecentEventsApiArg>({
        query: (queryArg) => ({
          url: `/events`,
          params: {
            limit: queryArg.limit,
          },
        }),
        providesTags: ["instances"],
      }),
      healthz: build.query<HealthzApiResponse, HealthzApiArg>({
        query: () => ({ url: `/healthz` }),
        providesTags: ["instances"],
      }),
      listInstances: build.query<ListInstancesApiResponse, ListInstancesApiArg>(
        {
          query: (queryArg) => ({
            url: `/instances`,
            params: {
              limit: queryArg.limit,
              cursor: queryArg.cursor,
              all: queryArg.all,
            },
          }),
          providesTags: ["instances"],
        },
      ),
      provision: build.mutation<ProvisionApiResponse, ProvisionApiArg>({
        query: (queryArg) => ({
          url: `/instances/provision`,
          method: "POST",
          body: queryArg.provisionRequest,
          headers: {
            "Idempotency-Key": queryArg["Idempotency-Key"],
          },
          params: {
            wait: queryArg.wait,
          },
        }),
        invalidatesTags: ["provision"],
      }),
      showInstance: build.query<ShowInstanceApiResponse, ShowInstanceApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}`,
          params: {
            wait: queryArg.wait,
          },
        }),
        providesTags: ["instances"],
      }),
      editInstance: build.mutation<EditInstanceApiResponse, EditInstanceApiArg>(
        {
          query: (queryArg) => ({
            url: `/instances/${queryArg.instance}`,
            method: "PATCH",
            body: queryArg.patch,
          }),
          invalidatesTags: ["instances"],
        },
      ),
      destroy: build.mutation<DestroyApiResponse, DestroyApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/destroy`,
          method: "DELETE",
          params: {
            wait: queryArg.wait,
          },
        }),
        invalidatesTags: ["destroy"],
      }),
      listEvents: build.query<ListEventsApiResponse, ListEventsApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/events`,
          params: {
            limit: queryArg.limit,
            cursor: queryArg.cursor,
          },
        }),
        providesTags: ["instances"],
      }),
      startExec: build.mutation<StartExecApiResponse, StartExecApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/exec`,
          method: "POST",
          body: queryArg.execRequest,
          headers: {
            "Idempotency-Key": queryArg["Idempotency-Key"],
          },
          params: {
            wait: queryArg.wait,
          },
        }),
        invalidatesTags: ["exec"],
      }),
      showExec: build.query<ShowExecApiResponse, ShowExecApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/exec/${queryArg.order}`,
          params: {
            wait: queryArg.wait,
          },
        }),
        providesTags: ["exec"],
      }),
      hibernate: build.mutation<HibernateApiResponse, HibernateApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/hibernate`,
          method: "POST",
          params: {
            wait: queryArg.wait,
          },
        }),
        invalidatesTags: ["hibernate"],
      }),
      showMetrics: build.query<ShowMetricsApiResponse, ShowMetricsApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/metrics`,
          params: {
            since: queryArg.since,
            until: queryArg.until,
          },
        }),
        providesTags: ["instances"],
      }),
      snapshotKey: build.query<SnapshotKeyApiResponse, SnapshotKeyApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/recovery`,
        }),
        providesTags: ["snapshots"],
      }),
      listSnapshots: build.query<ListSnapshotsApiResponse, ListSnapshotsApiArg>(
        {
          query: (queryArg) => ({
            url: `/instances/${queryArg.instance}/snapshots`,
            params: {
              limit: queryArg.limit,
              cursor: queryArg.cursor,
              last: queryArg.last,
              hourly: queryArg.hourly,
              daily: queryArg.daily,
              weekly: queryArg.weekly,
            },
          }),
          providesTags: ["snapshots"],
        },
      ),
      takeSnapshot: build.mutation<TakeSnapshotApiResponse, TakeSnapshotApiArg>(
        {
          query: (queryArg) => ({
            url: `/instances/${queryArg.instance}/snapshots`,
            method: "POST",
            params: {
              wait: queryArg.wait,
            },
          }),
          invalidatesTags: ["snapshots"],
        },
      ),
      pinSnapshot: build.mutation<PinSnapshotApiResponse, PinSnapshotApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/snapshots/${queryArg.snapshot}`,
          method: "PATCH",
          body: queryArg.snapshotPatch,
        }),
        invalidatesTags: ["snapshots"],
      }),
      removeSnapshot: build.mutation<
        RemoveSnapshotApiResponse,
        RemoveSnapshotApiArg
      >({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/snapshots/${queryArg.snapshot}`,
          method: "DELETE",
        }),
        invalidatesTags: ["snapshots"],
      }),
      snapshotAddresses: build.mutation<
        SnapshotAddressesApiResponse,
        SnapshotAddressesApiArg
      >({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/snapshots/${queryArg.snapshot}/addresses`,
          method: "POST",
          body: queryArg.addressesBody,
        }),
        invalidatesTags: ["snapshots"],
      }),
      cloneSnapshot: build.mutation<
        CloneSnapshotApiResponse,
        CloneSnapshotApiArg
      >({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/snapshots/${queryArg.snapshot}/clone`,
          method: "POST",
          body: queryArg.cloneBody,
          headers: {
            "Idempotency-Key": queryArg["Idempotency-Key"],
          },
          params: {
            wait: queryArg.wait,
          },
        }),
        invalidatesTags: ["snapshots"],
      }),
      restoreSnapshot: build.mutation<
        RestoreSnapshotApiResponse,
        RestoreSnapshotApiArg
      >({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/snapshots/${queryArg.snapshot}/restore`,
          method: "POST",
        }),
        invalidatesTags: ["snapshots"],
      }),
      verifySnapshot: build.mutation<
        VerifySnapshotApiResponse,
        VerifySnapshotApiArg
      >({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/snapshots/${queryArg.snapshot}/verify`,
          method: "POST",
          params: {
            wait: queryArg.wait,
            go_on: queryArg.goOn,
          },
        }),
        invalidatesTags: ["snapshots"],
      }),
      wake: build.mutation<WakeApiResponse, WakeApiArg>({
        query: (queryArg) => ({
          url: `/instances/${queryArg.instance}/wake`,
          method: "POST",
          params: {
            wait: queryArg.wait,
          },
        }),
        invalidatesTags: ["wake"],
      }),
      listBlocks: build.query<ListBlocksApiResponse, ListBlocksApiArg>({
        query: () => ({ url: `/machines/blocks` }),
        providesTags: ["machines"],
      }),
      machineHistory: build.query<
        MachineHistoryApiResponse,
        MachineHistoryApiArg
      >({
        query: (queryArg) => ({
          url: `/machines/history`,
          params: {
            limit: queryArg.limit,
            cursor: queryArg.cursor,
            provider: queryArg.provider,
            gpu_name: queryArg.gpuName,
            blocked: queryArg.blocked,
          },
        }),
        providesTags: ["machines"],
      }),
      exportHistory: build.query<ExportHistoryApiResponse, ExportHistoryApiArg>(
        {
          query: (queryArg) => ({
            url: `/machines/history/export`,
            params: {
              limit: queryArg.limit,
              cursor: queryArg.cursor,
            },
          }),
          providesTags: ["machines"],
        },
      ),
      importHistory: build.mutation<
        ImportHistoryApiResponse,
        ImportHistoryApiArg
      >({
        query: (queryArg) => ({
          url: `/machines/history/import`,
          method: "POST",
          body: queryArg.importBody,
        }),
        invalidatesTags: ["machines"],
      }),
      orphans: build.query<OrphansApiResponse, OrphansApiArg>({
        query: () => ({ url: `/machines/orphans` }),
        providesTags: ["machines"],
      }),
      blockMachine: build.mutation<BlockMachineApiResponse, BlockMachineApiArg>(
        {
          query: (queryArg) => ({
            url: `/machines/${queryArg.machine}/block`,
            method: "PUT",
            body: queryArg.blockBody,
          }),
          invalidatesTags: ["machines"],
        },
      ),
      unblockMachine: build.mutation<
        UnblockMachineApiResponse,
        UnblockMachineApiArg
      >({
        query: (queryArg) => ({
          url: `/machines/${queryArg.machine}/block`,
          method: "DELETE",
        }),
        invalidatesTags: ["machines"],
      }),
      metrics: build.query<MetricsApiResponse, MetricsApiArg>({
        query: () => ({ url: `/metrics` }),
        providesTags: ["machines"],
      }),
      listModels: build.query<ListModelsApiResponse, ListModelsApiArg>({
        query: () => ({ url: `/models` }),
        providesTags: ["models"],
      }),
      deployModel: build.mutation<DeployModelApiResponse, DeployModelApiArg>({
        query: (queryArg) => ({
          url: `/models/deploy`,
          method: "POST",
          body: queryArg.deployBody,
          headers: {
            "Idempotency-Key": queryArg["Idempotency-Key"],
          },
        }),
        invalidatesTags: ["models"],
      }),
      showModel: build.query<ShowModelApiResponse, ShowModelApiArg>({
        query: (queryArg) => ({ url: `/models/${queryArg.model}` }),
        providesTags: ["models"],
      }),
      deleteModel: build.mutation<DeleteModelApiResponse, DeleteModelApiArg>({
        query: (queryArg) => ({
          url: `/models/${queryArg.model}`,
          method: "DELETE",
        }),
        invalidatesTags: ["models"],
      }),
      listOffers: build.query<ListOffersApiResponse, ListOffersApiArg>({
        query: (queryArg) => ({
          url: `/offers`,
          params: {
            gpu_name: queryArg.gpuName,
            gpu_count: queryArg.gpuCount,
            min_vram_gb: queryArg.minVramGb,
            disk_gib: queryArg.diskGib,
            max_usd_per_hour: queryArg.maxUsdPerHour,
            min_reliability: queryArg.minReliability,
            region: queryArg.region,
            provider: queryArg.provider,
            interruptible: queryArg.interruptible,
            workspace_gb: queryArg.workspaceGb,
            all: queryArg.all,
            limit: queryArg.limit,
          },
        }),
        providesTags: ["market"],
      }),
      listPools: build.query<ListPoolsApiResponse, ListPoolsApiArg>({
        query: () => ({ url: `/pools` }),
        providesTags: ["pools"],
      }),
      putPool: build.mutation<PutPoolApiResponse, PutPoolApiArg>({
        query: (queryArg) => ({
          url: `/pools/${queryArg.pool}`,
          method: "PUT",
          body: queryArg.poolBody,
        }),
        invalidatesTags: ["pools"],
      }),
      deletePool: build.mutation<DeletePoolApiResponse, DeletePoolApiArg>({
        query: (queryArg) => ({
          url: `/pools/${queryArg.pool}`,
          method: "DELETE",
        }),
        invalidatesTags: ["pools"],
      }),
      listStorage: build.query<ListStorageApiResponse, ListStorageApiArg>({
        query: () => ({ url: `/settings/storage` }),
        providesTags: ["storage"],
      }),
      saveStorage: build.mutation<SaveStorageApiResponse, SaveStorageApiArg>({
        query: (queryArg) => ({
          url: `/settings/storage/${queryArg.name}`,
          method: "PUT",
          body: queryArg.storageBody,
        }),
        invalidatesTags: ["storage"],
      }),
      removeStorage: build.mutation<
        RemoveStorageApiResponse,
        RemoveStorageApiArg
      >({
        query: (queryArg) => ({
          url: `/settings/storage/${queryArg.name}`,
          method: "DELETE",
        }),
        invalidatesTags: ["storage"],
      }),
      useStorage: build.mutation<UseStorageApiResponse, UseStorageApiArg>({
        query: (queryArg) => ({
          url: `/settings/storage/${queryArg.name}/default`,
          method: "POST",
        }),
        invalidatesTags: ["storage"],
      }),
      testStorage: build.mutation<TestStorageApiResponse, TestStorageApiArg>({
        query: (queryArg) => ({
          url: `/settings/storage/${queryArg.name}/test`,
          method: "POST",
        }),
        invalidatesTags: ["storage"],
      }),
      listAlerts: build.query<ListAlertsApiResponse, ListAlertsApiArg>({
        query: () => ({ url: `/spot/alerts` }),
        providesTags: ["market"],
      }),
      createAlert: build.mutation<CreateAlertApiResponse, CreateAlertApiArg>({
        query: (queryArg) => ({
          url: `/spot/alerts`,
          method: "POST",
          body: queryArg.alertBody,
        }),
        invalidatesTags: ["market"],
      }),
      deleteAlert: build.mutation<DeleteAlertApiResponse, DeleteAlertApiArg>({
        query: (queryArg) => ({
          url: `/spot/alerts/${queryArg.alert}`,
          method: "DELETE",
        }),
        invalidatesTags: ["market"],
      }),
      showMarket: build.query<ShowMarketApiResponse, ShowMarketApiArg>({
        query: (queryArg) => ({
          url: `/spot/market`,
          params: {
            gpu_name: queryArg.gpuName,
            interruptible: queryArg.interruptible,
            days: queryArg.days,
            provider: queryArg.provider,
            workspace_gb: queryArg.workspaceGb,
          },
        }),
        providesTags: ["market"],
      }),
      listStandbys: build.query<ListStandbysApiResponse, ListStandbysApiArg>({
        query: () => ({ url: `/standby` }),
        providesTags: ["standby"],
      }),
      putStandby: build.mutation<PutStandbyApiResponse, PutStandbyApiArg>({
        query: (queryArg) => ({
          url: `/standby`,
          method: "POST",
          body: queryArg.standbyBody,
        }),
        invalidatesTags: ["standby"],
      }),
      failOver: build.mutation<FailOverApiResponse, FailOverApiArg>({
        query: (queryArg) => ({
          url: `/standby/failover`,
          method: "POST",
          body: queryArg.failoverBody,
          params: {
            wait: queryArg.wait,
          },
        }),
        invalidatesTags: ["failover"],
      }),
      showBreaker: build.query<ShowBreakerApiResponse, ShowBreakerApiArg>({
        query: () => ({ url: `/standby/failover/breaker` }),
        providesTags: ["failover"],
      }),
      closeBreaker: build.mutation<CloseBreakerApiResponse, CloseBreakerApiArg>(
        {
          query: () => ({ url: `/standby/failover/breaker`, method: "DELETE" }),
          invalidatesTags: ["failover"],
        },
      ),
      deleteStandby: build.mutation<
        DeleteStandbyApiResponse,
        DeleteStandbyApiArg
      >({
        query: (queryArg) => ({
          url: `/standby/${queryArg.instance}`,
          method: "DELETE",
        }),
        invalidatesTags: ["standby"],
      }),
      showUsage: build.query<ShowUsageApiResponse, ShowUsageApiArg>({
        query: (queryArg) => ({
          url: `/usage`,
          params: {
            since: queryArg.since,
            until: queryArg.until,
            instance: queryArg.instance,
          },
        }),
        providesTags: ["usage"],
      }),
      showBudget: build.query<ShowBudgetApiResponse, ShowBudgetApiArg>({
        query: () => ({ url: `/usage/budget` }),
        providesTags: ["usage"],
      }),
      setBudget: build.mutation<SetBudgetApiResponse, SetBudgetApiArg>({
        query: (queryArg) => ({
          url: `/usage/budget`,
          method: "PUT",
          body: queryArg.budgetBody,
        }),
        invalidatesTags: ["usage"],
      }),
      showInstanceBudget: build.query<
        ShowInstanceBudgetApiResponse,
        ShowInstanceBudgetApiArg
      >({
        query: (queryArg) => ({ url: `/usage/budget/${queryArg.instance}` }),
        providesTags: ["usage"],
      }),
      setInstanceBudget: build.mutation<
        SetInstanceBudgetApiResponse,
        SetInstanceBudgetApiArg
      >({
        query: (queryArg) => ({
          url: `/usage/budget/${queryArg.instance}`,
          method: "PUT",
          body: queryArg.budgetBody,
        }),
        invalidatesTags: ["usage"],
      }),
      showLedger: build.query<ShowLedgerApiResponse, ShowLedgerApiArg>({
        query: (queryArg) => ({
          url: `/usage/ledger`,
          params: {
            since: queryArg.since,
            until: queryArg.until,
            instance: queryArg.instance,
          },
        }),
        providesTags: ["usage"],
      }),
      listWebhooks: build.query<ListWebhooksApiResponse, ListWebhooksApiArg>({
        query: () => ({ url: `/webhooks` }),
        providesTags: ["webhooks"],
      }),
      createWebhook: build.mutation<
        CreateWebhookApiResponse,
        CreateWebhookApiArg
      >({
        query: (queryArg) => ({
          url: `/webhooks`,
          method: "POST",
          body: queryArg.webhookBody,
        }),
        invalidatesTags: ["webhooks"],
      }),
      deleteWebhook: build.mutation<
        DeleteWebhookApiResponse,
        DeleteWebhookApiArg
      >({
        query: (queryArg) => ({
          url: `/webhooks/${queryArg.webhook}`,
          method: "DELETE",
        }),
        invalidatesTags: ["webhooks"],
      }),
    }),
    overrideExisting: false,
  });
export { injectedRtkApi as api };
export type ShowDefaultsApiResponse =
  /** status 200 Your defaults for new instances */ {
    success: true;
    data: DefaultsView;
  };
export type ShowDefaultsApiArg = void;
export type SetDefaultsApiResponse =
  /** status 200 Set your defaults for new instances */ {
    success: true;
    data: DefaultsView;
  };
export type SetDefaultsApiArg = {
  defaultsBody: DefaultsBody;
};
export type ListKeysApiResponse = /** status 200 List API keys */ {
  success: true;
  data: KeyList;
};
export type ListKeysApiArg = void;
export type CreateKeyApiResponse = /** status 201 Create an API key */ {
  success: true;
  data: NewKeyView;
};
export type CreateKeyApiArg = {
  keyRequest: KeyRequest;
};
export type RevokeKeyApiResponse = /** status 200 Revoke an API key */ {
  success: true;
  data: Done;
};
export type RevokeKeyApiArg = {
  key: string;
};
export type LoginApiResponse = /** status 200 Log in */ {
  success: true;
  data: SessionView;
};
export type LoginApiArg = {
  loginRequest: LoginRequest;
};
export type LogoutApiResponse = /** status 200 End a session */ {
  success: true;
  data: Done;
};
export type LogoutApiArg = {
  refreshRequest: RefreshRequest;
};
export type WhoAmIApiResponse = /** status 200 Who am I */ {
  success: true;
  data: UserView;
};
export type WhoAmIApiArg = void;
export type RefreshSessionApiResponse = /** status 200 Renew a session */ {
  success: true;
  data: SessionView;
};
export type RefreshSessionApiArg = {
  refreshRequest: RefreshRequest;
};
export type ListSessionsApiResponse =
  /** status 200 Where you are logged in */ {
    success: true;
    data: SessionList;
  };
export type ListSessionsApiArg = void;
export type EndOtherSessionsApiResponse =
  /** status 200 End every session of yours but this */ {
    success: true;
    data: EndedView;
  };
export type EndOtherSessionsApiArg = {
  refreshRequest: RefreshRequest;
};
export type EndSessionApiResponse = /** status 200 End one of your sessions */ {
  success: true;
  data: Done;
};
export type EndSessionApiArg = {
  session: string;
};
export type ListSshKeysApiResponse =
  /** status 200 List your SSH public keys */ {
    success: true;
    data: SshKeysView;
  };
export type ListSshKeysApiArg = void;
export type SetSshKeysApiResponse = /** status 200 Set your SSH public keys */ {
  success: true;
  data: SshKeysView;
};
export type SetSshKeysApiArg = {
  sshKeysBody: SshKeysBody;
};
export type CreateUserApiResponse = /** status 201 Create a user */ {
  success: true;
  data: UserView;
};
export type CreateUserApiArg = {
  createUserRequest: CreateUserRequest;
};
export type RecentEventsApiResponse =
  /** status 200 What happened lately to all your instances */ {
    success: true;
    data: RecentEvents;
  };
export type RecentEventsApiArg = {
  limit?: number;
};
export type HealthzApiResponse =
  /** status 200 Whether the API and its database answer */ {
    success: true;
    data: Done;
  };
export type HealthzApiArg = void;
export type ListInstancesApiResponse = /** status 200 List instances */ {
  success: true;
  data: InstanceList;
};
export type ListInstancesApiArg = {
  limit?: number;
  cursor?: string | null;
  all?: boolean;
};
export type ProvisionApiResponse = /** status 201 Provision an instance */ {
  success: true;
  data: InstanceView;
};
export type ProvisionApiArg = {
  wait?: number;
  /** The same key gives the same result, once. */
  "Idempotency-Key"?: string;
  provisionRequest: ProvisionRequest;
};
export type ShowInstanceApiResponse = /** status 200 Show an instance */ {
  success: true;
  data: InstanceView;
};
export type ShowInstanceApiArg = {
  instance: string;
  wait?: number;
};
export type EditInstanceApiResponse =
  /** status 200 Change name, policy, labels; keep awake */ {
    success: true;
    data: InstanceView;
  };
export type EditInstanceApiArg = {
  instance: string;
  patch: Patch;
};
export type DestroyApiResponse =
  /** status 200 Destroy an instance, its machines and its snapshots */ {
    success: true;
    data: InstanceView;
  };
export type DestroyApiArg = {
  instance: string;
  wait?: number;
};
export type ListEventsApiResponse =
  /** status 200 What happened to an instance */ {
    success: true;
    data: EventList;
  };
export type ListEventsApiArg = {
  instance: string;
  limit?: number;
  cursor?: string | null;
};
export type StartExecApiResponse = /** status 200 Run a command */ {
  success: true;
  data: ExecView;
};
export type StartExecApiArg = {
  instance: string;
  wait?: number;
  /** The same key gives the same result, once. */
  "Idempotency-Key"?: string;
  execRequest: ExecRequest;
};
export type ShowExecApiResponse = /** status 200 How a command went */ {
  success: true;
  data: ExecView;
};
export type ShowExecApiArg = {
  instance: string;
  order: string;
  wait?: number;
};
export type HibernateApiResponse =
  /** status 200 Hibernate a running instance */ {
    success: true;
    data: InstanceView;
  };
export type HibernateApiArg = {
  instance: string;
  wait?: number;
};
export type ShowMetricsApiResponse =
  /** status 200 What an instance's GPUs, memory and network did */ {
    success: true;
    data: MetricsView;
  };
export type ShowMetricsApiArg = {
  instance: string;
  since?: string | null;
  until?: string | null;
};
export type SnapshotKeyApiResponse =
  /** status 200 What restores an instance's snapshots without us */ {
    success: true;
    data: RecoveryView;
  };
export type SnapshotKeyApiArg = {
  instance: string;
};
export type ListSnapshotsApiResponse = /** status 200 List snapshots */ {
  success: true;
  data: SnapshotList;
};
export type ListSnapshotsApiArg = {
  instance: string;
  limit?: number;
  cursor?: string | null;
  last?: number | null;
  hourly?: number | null;
  daily?: number | null;
  weekly?: number | null;
};
export type TakeSnapshotApiResponse = /** status 201 Take a snapshot now */ {
  success: true;
  data: SnapshotView;
};
export type TakeSnapshotApiArg = {
  instance: string;
  wait?: number;
};
export type PinSnapshotApiResponse =
  /** status 200 Pin a snapshot or take that back */ {
    success: true;
    data: SnapshotView;
  };
export type PinSnapshotApiArg = {
  instance: string;
  snapshot: string;
  snapshotPatch: SnapshotPatch;
};
export type RemoveSnapshotApiResponse = /** status 200 Give a snapshot up */ {
  success: true;
  data: Done;
};
export type RemoveSnapshotApiArg = {
  instance: string;
  snapshot: string;
};
export type SnapshotAddressesApiResponse =
  /** status 200 Where a snapshot's objects are read */ {
    success: true;
    data: AddressesView;
  };
export type SnapshotAddressesApiArg = {
  instance: string;
  snapshot: string;
  addressesBody: AddressesBody;
};
export type CloneSnapshotApiResponse =
  /** status 201 A new instance with the files of a snapshot */ {
    success: true;
    data: InstanceView;
  };
export type CloneSnapshotApiArg = {
  instance: string;
  snapshot: string;
  wait?: number;
  /** The same key gives the same result, once. */
  "Idempotency-Key"?: string;
  cloneBody: CloneBody;
};
export type RestoreSnapshotApiResponse =
  /** status 200 Restore a snapshot: now where the instance runs, else by its next wake */ {
    success: true;
    data: InstanceView;
  };
export type RestoreSnapshotApiArg = {
  instance: string;
  snapshot: string;
};
export type VerifySnapshotApiResponse =
  /** status 200 Read a snapshot in storage again, all of it, over several calls */ {
    success: true;
    data: VerifyView;
  };
export type VerifySnapshotApiArg = {
  instance: string;
  snapshot: string;
  wait?: number;
  goOn?: boolean;
};
export type WakeApiResponse = /** status 200 Wake a hibernated instance */ {
  success: true;
  data: InstanceView;
};
export type WakeApiArg = {
  instance: string;
  wait?: number;
};
export type ListBlocksApiResponse =
  /** status 200 Machines you block or allow */ {
    success: true;
    data: BlockList;
  };
export type ListBlocksApiArg = void;
export type MachineHistoryApiResponse =
  /** status 200 How machines have served */ {
    success: true;
    data: MachineHistoryList;
  };
export type MachineHistoryApiArg = {
  limit?: number;
  cursor?: string | null;
  provider?: string | null;
  gpuName?: string | null;
  blocked?: boolean | null;
};
export type ExportHistoryApiResponse =
  /** status 200 The history as JSON Lines */ {
    success: true;
    data: ExportView;
  };
export type ExportHistoryApiArg = {
  limit?: number;
  cursor?: string | null;
};
export type ImportHistoryApiResponse =
  /** status 200 Histories of another deployment */ {
    success: true;
    data: ImportedView;
  };
export type ImportHistoryApiArg = {
  importBody: ImportBody;
};
export type OrphansApiResponse = /** status 200 Machines not proven gone */ {
  success: true;
  data: OpenReceiptList;
};
export type OrphansApiArg = void;
export type BlockMachineApiResponse =
  /** status 200 Block or allow a machine */ {
    success: true;
    data: BlockView;
  };
export type BlockMachineApiArg = {
  machine: string;
  blockBody: BlockBody;
};
export type UnblockMachineApiResponse = /** status 200 Take a block back */ {
  success: true;
  data: Done;
};
export type UnblockMachineApiArg = {
  machine: string;
};
export type MetricsApiResponse =
  /** status 200 An operator's figures, as Prometheus reads them */ string;
export type MetricsApiArg = void;
export type ListModelsApiResponse =
  /** status 200 LLM deployments and runtimes */ {
    success: true;
    data: ModelList;
  };
export type ListModelsApiArg = void;
export type DeployModelApiResponse =
  /** status 201 Deploy a model, or see what it needs */ {
    success: true;
    data: NewDeploymentView;
  };
export type DeployModelApiArg = {
  /** The same key gives the same result, once. */
  "Idempotency-Key"?: string;
  deployBody: DeployBody;
};
export type ShowModelApiResponse = /** status 200 Show a deployment */ {
  success: true;
  data: DeploymentView;
};
export type ShowModelApiArg = {
  model: string;
};
export type DeleteModelApiResponse =
  /** status 200 End a deployment and its machine */ {
    success: true;
    data: Done;
  };
export type DeleteModelApiArg = {
  model: string;
};
export type ListOffersApiResponse = /** status 200 What could be rented now */ {
  success: true;
  data: OfferList;
};
export type ListOffersApiArg = {
  gpuName?: string | null;
  gpuCount?: number;
  minVramGb?: number;
  diskGib?: number;
  maxUsdPerHour?: number | string | null;
  minReliability?: number;
  region?: string | null;
  provider?: ("vast" | "tensordock" | "gce") | null;
  interruptible?: boolean;
  workspaceGb?: number;
  all?: boolean;
  limit?: number;
};
export type ListPoolsApiResponse = /** status 200 Pools of warm machines */ {
  success: true;
  data: PoolList;
};
export type ListPoolsApiArg = void;
export type PutPoolApiResponse = /** status 200 Make or change a pool */ {
  success: true;
  data: PoolView;
};
export type PutPoolApiArg = {
  pool: string;
  poolBody: PoolBody;
};
export type DeletePoolApiResponse =
  /** status 200 Delete a pool and its seats */ {
    success: true;
    data: Done;
  };
export type DeletePoolApiArg = {
  pool: string;
};
export type ListStorageApiResponse =
  /** status 200 Buckets for snapshots, and what storage costs at whom */ {
    success: true;
    data: StorageList;
  };
export type ListStorageApiArg = void;
export type SaveStorageApiResponse =
  /** status 200 Add a bucket of your own, or give it other keys; it is tried first */ {
    success: true;
    data: BucketView;
  };
export type SaveStorageApiArg = {
  name: string;
  storageBody: StorageBodyWrite;
};
export type RemoveStorageApiResponse =
  /** status 200 Forget a bucket and its keys */ {
    success: true;
    data: Done;
  };
export type RemoveStorageApiArg = {
  name: string;
};
export type UseStorageApiResponse =
  /** status 200 Let new instances go to a bucket */ {
    success: true;
    data: Done;
  };
export type UseStorageApiArg = {
  name: string;
};
export type TestStorageApiResponse = /** status 200 Try a bucket again */ {
  success: true;
  data: TriedView;
};
export type TestStorageApiArg = {
  name: string;
};
export type ListAlertsApiResponse = /** status 200 Your price alerts */ {
  success: true;
  data: AlertList;
};
export type ListAlertsApiArg = void;
export type CreateAlertApiResponse =
  /** status 201 Be told when a GPU is offered for less */ {
    success: true;
    data: AlertView;
  };
export type CreateAlertApiArg = {
  alertBody: AlertBody;
};
export type DeleteAlertApiResponse = /** status 200 Delete a price alert */ {
  success: true;
  data: Done;
};
export type DeleteAlertApiArg = {
  alert: string;
};
export type ShowMarketApiResponse =
  /** status 200 Price bands, supply and trend of a GPU */ {
    success: true;
    data: MarketView;
  };
export type ShowMarketApiArg = {
  gpuName: string;
  interruptible?: boolean;
  days?: "1" | "7" | "30";
  provider?: ("vast" | "tensordock" | "gce") | null;
  workspaceGb?: number;
};
export type ListStandbysApiResponse =
  /** status 200 CPU standbys and how far behind they are */ {
    success: true;
    data: StandbyList;
  };
export type ListStandbysApiArg = void;
export type PutStandbyApiResponse =
  /** status 200 Give an instance a standby, or see what it would cost */ {
    success: true;
    data: StandbyView;
  };
export type PutStandbyApiArg = {
  standbyBody: StandbyBody;
};
export type FailOverApiResponse =
  /** status 200 Give an instance's machine up now, or try that out on a copy */ {
    success: true;
    data: InstanceView;
  };
export type FailOverApiArg = {
  wait?: number;
  failoverBody: FailoverBody;
};
export type ShowBreakerApiResponse =
  /** status 200 Whether automatic failovers are stopped */ {
    success: true;
    data: BreakerView;
  };
export type ShowBreakerApiArg = void;
export type CloseBreakerApiResponse =
  /** status 200 Let automatic failovers go on */ {
    success: true;
    data: Done;
  };
export type CloseBreakerApiArg = void;
export type DeleteStandbyApiResponse =
  /** status 200 End an instance's standby */ {
    success: true;
    data: Done;
  };
export type DeleteStandbyApiArg = {
  instance: string;
};
export type ShowUsageApiResponse =
  /** status 200 What it cost, and what was saved */ {
    success: true;
    data: UsageView;
  };
export type ShowUsageApiArg = {
  since?: string | null;
  until?: string | null;
  instance?: string | null;
};
export type ShowBudgetApiResponse = /** status 200 Your monthly budget */ {
  success: true;
  data: BudgetView;
};
export type ShowBudgetApiArg = void;
export type SetBudgetApiResponse =
  /** status 200 Set or remove your monthly budget */ {
    success: true;
    data: BudgetView;
  };
export type SetBudgetApiArg = {
  budgetBody: BudgetBody;
};
export type ShowInstanceBudgetApiResponse =
  /** status 200 An instance's monthly budget */ {
    success: true;
    data: InstanceBudgetView;
  };
export type ShowInstanceBudgetApiArg = {
  instance: string;
};
export type SetInstanceBudgetApiResponse =
  /** status 200 Set or remove an instance's monthly budget */ {
    success: true;
    data: InstanceBudgetView;
  };
export type SetInstanceBudgetApiArg = {
  instance: string;
  budgetBody: BudgetBody;
};
export type ShowLedgerApiResponse =
  /** status 200 Every machine that was paid for */ {
    success: true;
    data: LedgerView;
  };
export type ShowLedgerApiArg = {
  since?: string | null;
  until?: string | null;
  instance?: string | null;
};
export type ListWebhooksApiResponse =
  /** status 200 Who is told of what happens */ {
    success: true;
    data: WebhookList;
  };
export type ListWebhooksApiArg = void;
export type CreateWebhookApiResponse =
  /** status 201 Tell an address of what happens */ {
    success: true;
    data: NewWebhookView;
  };
export type CreateWebhookApiArg = {
  webhookBody: WebhookBody;
};
export type DeleteWebhookApiResponse =
  /** status 200 Tell an address no more */ {
    success: true;
    data: Done;
  };
export type DeleteWebhookApiArg = {
  webhook: string;
};
export type DefaultsView = {
  strategy: string;
  strategies: {
    [key: string]: string;
  };
};
export type Error = {
  success: any;
  error: {
    code: string;
    message: string;
    request_id: string;
    details?: object;
  };
};
export type DefaultsBody = {
  strategy?: "race" | "round_robin" | "coldstart" | "auto" | "serverless";
};
export type KeyView = {
  id: string;
  name: string;
  created_at: string;
  last_used_at: string | null;
  revoked_at: string | null;
};
export type KeyList = {
  keys: KeyView[];
};
export type NewKeyView = {
  id: string;
  name: string;
  created_at: string;
  last_used_at: string | null;
  revoked_at: string | null;
  key: string;
};
export type KeyRequest = {
  name: string;
};
export type Done = {
  done?: boolean;
};
export type SessionView = {
  access_token: string;
  expires_in: number;
  refresh_token: string;
  token_type?: string;
};
export type LoginRequest = {
  email: string;
  password: string;
};
export type RefreshRequest = {
  refresh_token: string;
};
export type UserView = {
  id: string;
  email: string;
  admin: boolean;
  created_at: string;
};
export type LiveSessionView = {
  id: string;
  device: string;
  created_at: string;
  renewed_at: string;
  expires_at: string;
};
export type SessionList = {
  sessions: LiveSessionView[];
};
export type EndedView = {
  ended: number;
};
export type SshKeysView = {
  ssh_keys: string[];
};
export type SshKeysBody = {
  ssh_keys: string[];
};
export type CreateUserRequest = {
  email: string;
  password: string;
  admin?: boolean;
};
export type RecentEventView = {
  id: string;
  at: string;
  kind: string;
  message: string;
  actor: string;
  details: {
    [key: string]: any;
  };
  instance_id: string;
};
export type RecentEvents = {
  events: RecentEventView[];
};
export type MachineView = {
  provider: string;
  machine_id: string;
  host_id: string;
  gpu_name: string;
  gpu_count: number;
  usd_per_hour: string;
  region: string;
  ssh_host: string | null;
  ssh_port: number | null;
  ports: {
    [key: string]: number;
  };
};
export type ClocksView = {
  asked_at: string | null;
  first_answer_at: string | null;
  usable_at: string | null;
  restored_at: string | null;
  ready_reported_at: string | null;
};
export type FailoverView = {
  heard_at: string;
  detected_at: string;
  snapshot_at: string | null;
  promoted_at: string | null;
  gpu_found_at: string | null;
  back_at: string | null;
  rpo_s: number | null;
  rto_s: number | null;
  gpu_back_s: number | null;
};
export type DrillView = {
  copy_id: string;
  begun_at: string;
  snapshot_id: string;
  with_standby: boolean;
  failover: FailoverView | null;
  ended_at: string | null;
  failure: string | null;
  gone_at: string | null;
};
export type ReceiptView = {
  requested_at: string;
  confirmed_at: string | null;
  usd: string;
};
export type AttemptView = {
  id: string;
  round: number;
  provider: string;
  host_id: string;
  offer_machine_id: string;
  machine_id: string | null;
  gpu_name: string;
  gpu_count: number;
  usd_per_hour: string;
  region: string;
  stage: string;
  outcome: string | null;
  why: string | null;
  opened_at: string;
  created_at: string | null;
  adopted_at: string | null;
  receipt: ReceiptView | null;
};
export type InstanceView = {
  id: string;
  name: string;
  state: string;
  resting: boolean;
  created_at: string;
  entered_at: string;
  need: {
    [key: string]: any;
  };
  spec: {
    [key: string]: any;
  };
  idle_policy: {
    [key: string]: any;
  };
  labels: {
    [key: string]: string;
  };
  machine: MachineView | null;
  last_host_id: string | null;
  snapshot_id: string | null;
  storage: string | null;
  clocks: ClocksView;
  idle_since: string | null;
  why: string;
  hibernate_at: string | null;
  keep_awake_until: string | null;
  reserved_until: string | null;
  failure: string | null;
  restoring: boolean;
  strategy: string;
  snapshot_every_s: number;
  on_loss: string;
  has_standby: boolean;
  failover: FailoverView | null;
  drill?: DrillView | null;
  attempts?: AttemptView[];
  can: {
    [key: string]: boolean;
  };
};
export type InstanceList = {
  instances: InstanceView[];
  next_cursor: string | null;
};
export type IdlePolicyBody = {
  enabled?: boolean;
  idle_after_s?: number;
  gpu_percent?: number;
  startup_grace_s?: number;
  network_mbit?: number;
  disk_mb_s?: number;
  watch_ports?: boolean;
  heartbeat_file?: string | null;
};
export type ProvisionRequest = {
  name?: string | null;
  gpu_name?: string | null;
  gpu_count?: number;
  min_vram_gb?: number;
  disk_gib?: number;
  max_usd_per_hour?: number | string | null;
  min_reliability?: number;
  regions?: string[];
  providers?: ("vast" | "tensordock" | "gce")[];
  image?: string;
  env?: object;
  ports?: number[];
  workspace?: string[];
  excludes?: string[];
  hot?: string[];
  setup?: string | null;
  idle_policy?: IdlePolicyBody;
  labels?: {
    [key: string]: string;
  };
  strategy?:
    ("race" | "round_robin" | "coldstart" | "auto" | "serverless") | null;
  interruptible?: boolean;
  bid_headroom?: number;
  snapshot_every_s?: number | null;
  on_loss?: "wake" | "hibernate";
  storage?: string | null;
  width?: number;
  max_attempts?: number;
};
export type RetentionBody = {
  last?: number;
  hourly?: number;
  daily?: number;
  weekly?: number;
};
export type Patch = {
  name?: string | null;
  idle_policy?: IdlePolicyBody | null;
  keep_awake_s?: number | null;
  labels?: {
    [key: string]: string;
  } | null;
  snapshot_every_s?: number | null;
  on_loss?: ("wake" | "hibernate") | null;
  retention?: RetentionBody | null;
  excludes?: string[] | null;
  hot?: string[] | null;
};
export type EventView = {
  id: string;
  at: string;
  kind: string;
  message: string;
  actor: string;
  details: {
    [key: string]: any;
  };
};
export type EventList = {
  events: EventView[];
  next_cursor: string | null;
};
export type ExecView = {
  id: string;
  state: string;
  exit_code?: number | null;
  stdout?: string;
  stderr?: string;
  truncated?: boolean;
  error?: string | null;
};
export type ExecRequest = {
  command: string[];
  stdin?: string | null;
  cwd?: string | null;
  env?: object;
  timeout_s?: number;
};
export type MetricPointView = {
  at: string;
  samples: number;
  gpu: number | null;
  gpu_peak: number | null;
  vram_mb: number | null;
  vram_total_mb: number | null;
  network_mbit: number | null;
  disk_mb_s: number | null;
};
export type AsleepView = {
  since: string;
  until: string;
};
export type MetricsView = {
  since: string;
  until: string;
  step_s: number;
  idle_gpu_percent: number;
  kept_days: number;
  points: MetricPointView[];
  asleep: AsleepView[];
};
export type RecoveryView = {
  instance_id: string;
  store: string;
  endpoint: string | null;
  key: string;
};
export type SnapshotView = {
  id: string;
  state: string;
  created_at: string;
  files: number;
  bytes: number;
  stored_bytes: number;
  seconds: number;
  torn: string[];
  unreadable: string[];
  newest: boolean;
  pinned: boolean;
  kept: string | null;
  problem?: string | null;
};
export type SnapshotList = {
  retention: RetentionBody;
  snapshots: SnapshotView[];
  next_cursor: string | null;
};
export type SnapshotPatch = {
  pinned: boolean;
};
export type AddressesView = {
  manifest_key: string;
  urls: {
    [key: string]: string;
  };
  expires_at: string;
};
export type AddressesBody = {
  keys?: string[];
};
export type CloneBody = {
  name?: string | null;
  gpu_name?: string | null;
  gpu_count?: number | null;
  disk_gib?: number | null;
  max_usd_per_hour?: number | string | null;
  storage?: string | null;
};
export type VerifyView = {
  snapshot_id: string;
  state: string;
  problem: string | null;
  objects: number;
  frames: number;
  frames_read: number;
  whole: boolean;
};
export type BlockView = {
  machine: string;
  allow: boolean;
  why: string;
  at: string;
};
export type BlockList = {
  blocks: BlockView[];
};
export type PastView = {
  at: string;
  outcome: string;
  why: string;
  kind: string;
  boot_s: number | null;
};
export type MachineHistoryView = {
  id: string;
  provider: string;
  machine_id: string;
  host_id: string;
  gpu_name: string;
  region: string;
  rate: number;
  rate_low: number;
  rate_high: number;
  counted: number;
  boot_p50_s: number | null;
  boot_p95_s: number | null;
  disk_mb_s: number | null;
  down_mb_s: number | null;
  blocked: boolean;
  blocked_until: string | null;
  blocked_why: string | null;
  recent: PastView[];
  updated_at: string;
};
export type MachineHistoryList = {
  machines: MachineHistoryView[];
  next_cursor: string | null;
};
export type ExportView = {
  lines: string[];
  next_cursor: string | null;
};
export type ImportedView = {
  imported: number;
};
export type ImportBody = {
  lines: string[];
};
export type OpenReceiptView = {
  attempt_id: string;
  instance_id: string;
  provider: string;
  machine_id: string | null;
  gpu_name: string;
  why: string | null;
  requested_at: string;
  tries: number;
  usd: string;
  late: boolean;
};
export type OpenReceiptList = {
  receipts: OpenReceiptView[];
};
export type BlockBody = {
  allow?: boolean;
  why?: string;
};
export type ReplicaView = {
  instance_id: string;
  state: string;
  usd_per_hour: string | null;
  failure: string | null;
  log: string[];
  renewals: number;
};
export type FitView = {
  params_b: number;
  weights_gb: number;
  kv_gb: number;
  overhead_gb: number;
  total_gb: number;
  gpu_count: number;
  vram_gb: number;
  why: string;
};
export type DeploymentView = {
  id: string;
  name: string;
  model: string;
  runtime: string;
  quantization: string;
  context: number;
  state: string;
  instance_id: string | null;
  replicas: ReplicaView[];
  max_usd_per_hour: string | null;
  endpoint: string;
  fit: FitView | null;
  created_at: string;
  ready_at: string | null;
  idle_after_s: number;
  last_request_at: string | null;
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
  estimated_requests: number;
  usd_per_hour: string | null;
  failure: string | null;
  log: string[];
};
export type RuntimeView = {
  name: string;
  image: string;
  port: number;
  health: string;
  command: string[];
  quantizations: string[];
};
export type ModelList = {
  deployments: DeploymentView[];
  runtimes: RuntimeView[];
};
export type NewDeploymentView = {
  id: string;
  name: string;
  model: string;
  runtime: string;
  quantization: string;
  context: number;
  state: string;
  instance_id: string | null;
  replicas: ReplicaView[];
  max_usd_per_hour: string | null;
  endpoint: string;
  fit: FitView | null;
  created_at: string;
  ready_at: string | null;
  idle_after_s: number;
  last_request_at: string | null;
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
  estimated_requests: number;
  usd_per_hour: string | null;
  failure: string | null;
  log: string[];
  key: string | null;
};
export type DeployBody = {
  model: string;
  name?: string | null;
  runtime?: string;
  quantization?: ("fp16" | "fp8" | "q8" | "awq" | "gptq" | "q4") | null;
  context?: number;
  params_b?: number | null;
  config?: {
    [key: string]: any;
  } | null;
  gpu_name?: string | null;
  replicas?: number;
  max_usd_per_hour?: number | string | null;
  idle_after_s?: number;
  hub_token?: string | null;
  preview?: boolean;
};
export type PriceView = {
  gpu: string;
  disk: string;
  transfer: string;
  dud: string;
  total: string;
};
export type OfferView = {
  provider: string;
  offer_id: string;
  machine_id: string;
  host_id: string;
  gpu_name: string;
  gpu_count: number;
  vram_gb: number;
  usd_per_hour: string;
  price: PriceView;
  disk_gib: number;
  reliability: number;
  region: string;
  down_mbit: number;
  interruptible: boolean;
  rate: number | null;
  counted: number;
  boot_p50_s: number | null;
  why_not: string | null;
};
export type OfferList = {
  offers: OfferView[];
  fitting: number;
  troubles: string[];
};
export type SeatView = {
  instance_id: string;
  state: string;
  created_at: string;
  usd_per_hour: string | null;
};
export type PoolView = {
  name: string;
  gpu_name: string | null;
  gpu_count: number;
  target: number;
  max_age_s: number;
  ready: number;
  seats: SeatView[];
  usd_per_hour: string;
};
export type PoolList = {
  pools: PoolView[];
};
export type PoolBody = {
  gpu_name?: string | null;
  gpu_count?: number;
  min_vram_gb?: number;
  disk_gib?: number;
  max_usd_per_hour?: number | string | null;
  regions?: string[];
  image?: string | null;
  env?: object;
  ports?: number[];
  workspace?: string[];
  target?: number;
  max_age_s?: number;
};
export type BucketView = {
  name: string;
  vendor: string;
  title: string;
  bucket: string;
  region: string;
  endpoint: string | null;
  access_key: string | null;
  usd_per_gb_month: string;
  minimum_days: number;
  egress: string;
  own: boolean;
  default: boolean;
  instances: number;
  tested_at: string | null;
};
export type VendorView = {
  name: string;
  title: string;
  endpoint: string | null;
  usd_per_gb_month: string;
  minimum_days: number;
  egress: string;
  source: string;
};
export type StorageList = {
  buckets: BucketView[];
  vendors: VendorView[];
};
export type StorageBody = {
  vendor: "s3" | "r2" | "b2" | "wasabi";
  bucket: string;
  region?: string;
  endpoint?: string | null;
  access_key: string;
};
export type StorageBodyWrite = {
  vendor: "s3" | "r2" | "b2" | "wasabi";
  bucket: string;
  region?: string;
  endpoint?: string | null;
  access_key: string;
  secret_key: string;
};
export type StepView = {
  step: string;
  problem: string | null;
};
export type TriedView = {
  name: string;
  good: boolean;
  steps: StepView[];
};
export type AlertView = {
  id: string;
  gpu_name: string;
  interruptible: boolean;
  provider: string | null;
  usd_per_gpu_hour: number;
  created_at: string;
  met: boolean;
  lowest_usd_per_gpu_hour: number | null;
  cheapest_at: string | null;
  seen_at: string | null;
  told_at: string | null;
};
export type AlertList = {
  alerts: AlertView[];
};
export type AlertBody = {
  gpu_name: string;
  usd_per_gpu_hour: number | string;
  interruptible?: boolean;
  provider?: ("vast" | "tensordock" | "gce") | null;
};
export type PointView = {
  at: string;
  samples: number;
  offers: number;
  low: number;
  p10: number;
  median: number;
  p90: number;
};
export type TrendView = {
  percent_a_day: number;
  error: number;
  points: number;
};
export type YourView = {
  instance_id: string;
  name: string;
  usd_per_gpu_hour: number;
  cheaper_percent: number;
};
export type BidView = {
  headroom: number;
  hours: number;
  interruptions: number;
  interruptions_a_day: number;
  usd_per_gpu_hour: number;
  usd_per_useful_hour: number;
  enough: boolean;
};
export type MarketView = {
  gpu_name: string;
  interruptible: boolean;
  days: number;
  now: PointView | null;
  band: PointView[];
  trend: TrendView | null;
  enough: boolean;
  note: string;
  reference_usd_per_gpu_hour: number | null;
  reference: string | null;
  below_reference_percent: number | null;
  cheapest: OfferView | null;
  cheapest_note: string;
  yours: YourView[];
  bids: BidView[];
  bid_advice: string | null;
  watched: string[];
};
export type StandbyView = {
  instance_id: string;
  instance_name: string;
  instance_state: string;
  machine_type: string;
  zone: string;
  disk_gib: number;
  spot: boolean;
  interval_s: number;
  usd_per_hour: string;
  usd_per_month: string;
  phase: string;
  machine_id: string | null;
  holds_snapshot_id: string | null;
  held_at: string | null;
  lag_s: number | null;
  lag_bytes: number | null;
};
export type StandbyList = {
  standbys: StandbyView[];
};
export type StandbyBody = {
  instance: string;
  machine_type?: string;
  zone?: string | null;
  disk_gib?: number | null;
  spot?: boolean;
  interval_s?: number;
  preview?: boolean;
};
export type FailoverBody = {
  instance: string;
  why?: string;
  drill?: boolean;
};
export type BreakerView = {
  open: boolean;
  opened_at: string | null;
  recent: number;
  limit: number;
  within_s: number;
};
export type StorageView = {
  name: string;
  usd: string;
  bytes: number;
  vendor: string;
  usd_per_gb_month: string;
  minimum_days: number;
  source: string;
};
export type ReferenceView = {
  gpu_name: string;
  usd_per_gpu_hour: string;
  source: string;
  date: string;
};
export type SavingsView = {
  asleep_usd: string;
  asleep_formula: string;
  market_usd: string;
  market_formula: string;
  references: ReferenceView[];
  no_reference: string[];
};
export type DayView = {
  day: string;
  usd: string;
};
export type ShareView = {
  name: string;
  usd: string;
};
export type InstanceUsageView = {
  instance_id: string;
  name: string;
  state: string;
  usd: string;
  wasted_usd: string;
  asleep_saved_usd: string;
};
export type InstanceBudgetView = {
  instance_id: string;
  name: string;
  usd_per_month: string | null;
  spent_usd: string;
  share: number | null;
  warned: boolean;
  reached: boolean;
};
export type BudgetView = {
  usd_per_month: string | null;
  spent_usd: string;
  share: number | null;
  warned: boolean;
  reached: boolean;
  instances: InstanceBudgetView[];
};
export type UsageView = {
  since: string;
  until: string;
  machines_usd: string;
  wasted_usd: string;
  storage: StorageView;
  own_storage: StorageView[];
  total_usd: string;
  burning_usd_per_hour: string;
  savings: SavingsView;
  days: DayView[];
  providers: ShareView[];
  instances: InstanceUsageView[];
  budget: BudgetView;
};
export type BudgetBody = {
  usd_per_month: number | string | null;
};
export type LedgerRowView = {
  attempt_id: string;
  instance_id: string;
  provider: string;
  machine_id: string | null;
  gpu_name: string;
  gpu_count: number;
  usd_per_hour: string;
  start: string;
  end: string | null;
  usd_loading_per_hour?: string | null;
  ran_at?: string | null;
  served: boolean;
  why: string | null;
  seconds: number;
  usd: string;
};
export type LedgerView = {
  since: string;
  until: string;
  rows: LedgerRowView[];
  usd: string;
  truncated: boolean;
};
export type DeliveryView = {
  at: string;
  event_id: string;
  kind: string;
  status: number | null;
  problem: string | null;
};
export type WebhookView = {
  id: string;
  url: string;
  form: string;
  created_at: string;
  tries: number;
  deliveries: DeliveryView[];
};
export type WebhookList = {
  webhooks: WebhookView[];
};
export type NewWebhookView = {
  id: string;
  url: string;
  form: string;
  created_at: string;
  tries: number;
  deliveries: DeliveryView[];
  secret: string;
};
export type WebhookBody = {
  url: string;
  form?: "json" | "slack";
};
export const {
  useShowDefaultsQuery,
  useSetDefaultsMutation,
  useListKeysQuery,
  useCreateKeyMutation,
  useRevokeKeyMutation,
  useLoginMutation,
  useLogoutMutation,
  useWhoAmIQuery,
  useRefreshSessionMutation,
  useListSessionsQuery,
  useEndOtherSessionsMutation,
  useEndSessionMutation,
  useListSshKeysQuery,
  useSetSshKeysMutation,
  useCreateUserMutation,
  useRecentEventsQuery,
  useHealthzQuery,
  useListInstancesQuery,
  useProvisionMutation,
  useShowInstanceQuery,
  useEditInstanceMutation,
  useDestroyMutation,
  useListEventsQuery,
  useStartExecMutation,
  useShowExecQuery,
  useHibernateMutation,
  useShowMetricsQuery,
  useSnapshotKeyQuery,
  useListSnapshotsQuery,
  useTakeSnapshotMutation,
  usePinSnapshotMutation,
  useRemoveSnapshotMutation,
  useSnapshotAddressesMutation,
  useCloneSnapshotMutation,
  useRestoreSnapshotMutation,
  useVerifySnapshotMutation,
  useWakeMutation,
  useListBlocksQuery,
  useMachineHistoryQuery,
  useExportHistoryQuery,
  useImportHistoryMutation,
  useOrphansQuery,
  useBlockMachineMutation,
  useUnblockMachineMutation,
  useMetricsQuery,
  useListModelsQuery,
  useDeployModelMutation,
  useShowModelQuery,
  useDeleteModelMutation,
  useListOffersQuery,
  useListPoolsQuery,
  usePutPoolMutation,
  useDeletePoolMutation,
  useListStorageQuery,
  useSaveStorageMutation,
  useRemoveStorageMutation,
  useUseStorageMutation,
  useTestStorageMutation,
  useListAlertsQuery,
  useCreateAlertMutation,
  useDeleteAlertMutation,
  useShowMarketQuery,
  useListStandbysQuery,
  usePutStandbyMutation,
  useFailOverMutation,
  useShowBreakerQuery,
  useCloseBreakerMutation,
  useDeleteStandbyMutation,
  useShowUsageQuery,
  useShowBudgetQuery,
  useSetBudgetMutation,
  useShowInstanceBudgetQuery,
  useSetInstanceBudgetMutation,
  useShowLedgerQuery,
  useListWebhooksQuery,
  useCreateWebhookMutation,
  useDeleteWebhookMutation,
} = injectedRtkApi;
