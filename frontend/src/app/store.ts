import { configureStore } from "@reduxjs/toolkit";
import { setupListeners } from "@reduxjs/toolkit/query";
import { api } from "@/api";
import { ended, followOtherTabs, sessionReducer } from "@/api/session";

export const makeStore = () =>
  configureStore({
    reducer: { session: sessionReducer, [api.reducerPath]: api.reducer },
    middleware: (defaults) => defaults().concat(api.middleware),
  });

export const store = makeStore();
setupListeners(store.dispatch);
followOtherTabs(() => store.dispatch(ended("You have logged out in another tab.")));

export type RootState = ReturnType<typeof store.getState>;
export type AppDispatch = typeof store.dispatch;
