namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Reflection;
    using System.Reflection.Emit;

    /// <summary>
    /// Gives an object the face of an interface that it does not know: a class that implements it is made when a function asks
    /// for one, its members call those of the same name. So a function's own `Amazon.Lambda.Core.ILambdaContext` is served
    /// whatever its version, and so is an interface of that name that a function declares for itself.
    /// A member that the object does not have throws NotImplementedException when it is called, unless the interface has a
    /// body for it.
    /// </summary>
    public static class Adapter
    {
        private static readonly Dictionary<Type, ConstructorInfo> Made = new Dictionary<Type, ConstructorInfo>();
        private static ModuleBuilder module;

        /// <summary>Whether a parameter of this type asks for the context.</summary>
        internal static bool IsContext(Type type)
        {
            return type == typeof(LambdaContext) || type.IsInterface && type.Name == "ILambdaContext";
        }

        /// <summary>`value` as a `type`, null for null.</summary>
        public static object Of(object value, Type type)
        {
            if (value == null || type.IsInstanceOfType(value))
            {
                return value;
            }
            return Constructor(type, value.GetType()).Invoke(new[] { value });
        }

        /// <summary>The same, for the code that is made here.</summary>
        public static T As<T>(object value)
        {
            return (T)Of(value, typeof(T));
        }

        /// <summary>That of the class which is a `type` and calls a `from`. Throws LambdaValidationException.</summary>
        internal static ConstructorInfo Constructor(Type type, Type from)
        {
            lock (Made)
            {
                if (!Made.TryGetValue(type, out ConstructorInfo constructor))
                {
                    Made[type] = constructor = Make(type, from);
                }
                return constructor;
            }
        }

        private static ConstructorInfo Make(Type type, Type from)
        {
            if (module == null)
            {
                AssemblyBuilder assembly = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("Lambent.Adapters"), AssemblyBuilderAccess.Run);
                module = assembly.DefineDynamicModule("Lambent.Adapters");
            }
            if (!type.IsVisible)
            {
                throw new LambdaValidationException("The interface '" + type.FullName + "' is not public, so that no class of this "
                    + "runtime can implement it.");
            }
            TypeBuilder adapter = module.DefineType("Lambent.Adapters." + from.Name + Made.Count, TypeAttributes.Public | TypeAttributes.Sealed);
            FieldBuilder target = adapter.DefineField("target", from, FieldAttributes.Private);
            ILGenerator code = adapter.DefineConstructor(MethodAttributes.Public, CallingConventions.Standard, new[] { from }).GetILGenerator();
            code.Emit(OpCodes.Ldarg_0);
            code.Emit(OpCodes.Call, typeof(object).GetConstructor(Type.EmptyTypes));
            code.Emit(OpCodes.Ldarg_0);
            code.Emit(OpCodes.Ldarg_1);
            code.Emit(OpCodes.Stfld, target);
            code.Emit(OpCodes.Ret);
            Implement(adapter, target, from, type);
            foreach (Type inherited in type.GetInterfaces())
            {
                Implement(adapter, target, from, inherited);
            }
            return adapter.CreateType().GetConstructor(new[] { from });
        }

        private static void Implement(TypeBuilder adapter, FieldBuilder target, Type from, Type type)
        {
            adapter.AddInterfaceImplementation(type);
            foreach (MethodInfo method in type.GetMethods())
            {
                Type[] parameters = Array.ConvertAll(method.GetParameters(), one => one.ParameterType);
                MethodInfo called = method.IsGenericMethod ? null : from.GetMethod(method.Name, parameters);
                if (method.IsStatic || called == null && !method.IsAbstract)
                {
                    continue; // it has a body
                }
                MethodBuilder made = adapter.DefineMethod(type.FullName + "." + method.Name, MethodAttributes.Private | MethodAttributes.Virtual
                    | MethodAttributes.Final | MethodAttributes.HideBySig | MethodAttributes.NewSlot, method.ReturnType, parameters);
                if (method.IsGenericMethod)
                {
                    made.DefineGenericParameters(Array.ConvertAll(method.GetGenericArguments(), one => one.Name));
                }
                ILGenerator code = made.GetILGenerator();
                bool wraps = called != null && called.ReturnType != method.ReturnType && method.ReturnType.IsInterface;
                if (called == null || called.ReturnType != method.ReturnType && !wraps)
                {
                    code.Emit(OpCodes.Newobj, typeof(NotImplementedException).GetConstructor(Type.EmptyTypes));
                    code.Emit(OpCodes.Throw);
                }
                else
                {
                    code.Emit(OpCodes.Ldarg_0);
                    code.Emit(OpCodes.Ldfld, target);
                    for (int i = 0; i < parameters.Length; i++)
                    {
                        code.Emit(OpCodes.Ldarg, (short)(i + 1));
                    }
                    code.Emit(OpCodes.Callvirt, called);
                    if (wraps)
                    {
                        code.Emit(OpCodes.Call, typeof(Adapter).GetMethod("As").MakeGenericMethod(method.ReturnType));
                    }
                    code.Emit(OpCodes.Ret);
                }
                adapter.DefineMethodOverride(made, method);
            }
        }
    }
}
