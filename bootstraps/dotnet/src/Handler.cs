namespace Lambent
{
    using System;
    using System.IO;
    using System.Reflection;
    using System.Runtime.CompilerServices;
    using System.Threading.Tasks;

    /// <summary>The function's method: found by AWS's rules, called with what its parameters ask for.</summary>
    internal sealed class Handler
    {
        private const BindingFlags Any = BindingFlags.DeclaredOnly | BindingFlags.Public | BindingFlags.NonPublic
            | BindingFlags.Instance | BindingFlags.Static;
        private const string Form = " The valid format is 'ASSEMBLY::TYPE::METHOD'.";

        private readonly MethodInfo method;
        private readonly object target;
        private readonly Serializer serializer;
        private readonly Type input;
        private readonly Type context;
        private readonly Type output;

        private Handler(MethodInfo method, object target, Serializer serializer, Type input, Type context)
        {
            this.method = method;
            this.target = target;
            this.serializer = serializer;
            this.input = input;
            this.context = context;
            output = Result(method.ReturnType);
        }

        /// <summary>
        /// The method that `ASSEMBLY::TYPE::METHOD` names, with a new instance of its class.
        /// Throws LambdaValidationException, and what the class's constructor throws.
        /// </summary>
        internal static Handler Find(string name)
        {
            if (name.Length == 0)
            {
                throw new LambdaValidationException("Empty lambda function handler." + Form);
            }
            string[] parts = name.Split(new[] { "::" }, 3, StringSplitOptions.None);
            string invalid = "Invalid lambda function handler: '" + name + "'";
            if (parts.Length != 3)
            {
                throw new LambdaValidationException(invalid + "." + Form);
            }
            for (int i = 0; i < 3; i++)
            {
                parts[i] = parts[i].Trim();
                if (parts[i].Length == 0)
                {
                    string what = i == 0 ? "assembly" : i == 1 ? "type" : "method";
                    throw new LambdaValidationException(invalid + ", the " + what + " is missing." + Form);
                }
            }
            Assembly assembly = FunctionLoader.Load(parts[0]);
            Type type = FunctionLoader.Class(assembly, parts[1]);
            if (type == null)
            {
                throw new LambdaValidationException("Unable to load type '" + parts[1] + "' from assembly '" + parts[0] + "'.");
            }
            MethodInfo method = Method(type, parts[2], false) ?? Method(type, parts[2], true);
            if (method == null)
            {
                throw new LambdaValidationException("Unable to find method '" + parts[2] + "' in type '" + parts[1]
                    + "' from assembly '" + parts[0] + "': Found no methods matching method name '" + parts[2] + "'.");
            }
            Check(type, method);
            object target = null;
            if (method.IsStatic)
            {
                RuntimeHelpers.RunClassConstructor(type.TypeHandle);
            }
            else
            {
                target = Activator.CreateInstance(type);
            }
            return Of(method, target);
        }

        /// <summary>A method that is known. Throws LambdaValidationException when its signature cannot be a handler's.</summary>
        internal static Handler Of(MethodInfo method, object target)
        {
            ParameterInfo[] given = method.GetParameters();
            // A delegate over a closure: its first parameter is bound already.
            int bound = method.IsStatic && target != null ? 1 : 0;
            string place = "Method '" + method.Name + "' of type '" + method.DeclaringType?.FullName + "' is not supported: the method has ";
            if (given.Length - bound > 2)
            {
                throw new LambdaValidationException(place + "more than 2 parameters.");
            }
            Type first = given.Length > bound ? given[bound].ParameterType : null;
            Type second = given.Length > bound + 1 ? given[bound + 1].ParameterType : null;
            if (second != null && !Adapter.IsContext(second) && second != typeof(object))
            {
                throw new LambdaValidationException(place + "2 parameters, but the second parameter is not of type '"
                    + "Amazon.Lambda.Core.ILambdaContext'.");
            }
            if (second == null && first != null && Adapter.IsContext(first))
            {
                second = first;
                first = null;
            }
            if (second != null && second.IsInterface)
            {
                Adapter.Constructor(second, typeof(LambdaContext));
            }
            return new Handler(method, target, Serializer.Of(method), first, second);
        }

        /// <summary>Calls it; what failed, or null, and then the result is in `to`.</summary>
        internal Exception Call(Invocation invocation, LambdaContext told, JsonBuffer to)
        {
            try
            {
                int bound = method.IsStatic && target != null ? 1 : 0;
                var arguments = new object[bound + (input == null ? 0 : 1) + (context == null ? 0 : 1)];
                if (bound != 0)
                {
                    arguments[0] = target;
                }
                if (input != null)
                {
                    arguments[bound] = Read(invocation.Event);
                }
                if (context != null)
                {
                    arguments[arguments.Length - 1] = Adapter.Of(told, context);
                }
                object result = method.Invoke(bound != 0 ? null : target, arguments);
                if (result is Task task)
                {
                    Exception failure = Ended(task);
                    if (failure != null)
                    {
                        return failure;
                    }
                    result = output == null ? null : task.GetType().GetProperty("Result").GetValue(task, null);
                }
                Write(result, to);
                return null;
            }
            catch (TargetInvocationException error) when (error.InnerException != null)
            {
                return error.InnerException;
            }
            catch (Exception error)
            {
                return error;
            }
        }

        private object Read(byte[] body)
        {
            if (input == typeof(Stream))
            {
                return new MemoryStream(body);
            }
            return serializer.Read(body, input);
        }

        private void Write(object result, JsonBuffer to)
        {
            if (output == null)
            {
                return;
            }
            if (!typeof(Stream).IsAssignableFrom(output))
            {
                serializer.Write(result, output, to);
                return;
            }
            var stream = (Stream)result;
            if (stream == null)
            {
                throw new NullReferenceException("The handler returned no stream.");
            }
            stream.CopyTo(new BufferStream(to));
            stream.Dispose();
        }

        /// <summary>Waits for a task; what it failed with, without being thrown again: its stack trace stays its own.</summary>
        private static Exception Ended(Task task)
        {
            try
            {
                task.Wait();
                return null;
            }
            catch (AggregateException error)
            {
                return error.InnerException ?? error;
            }
        }

        /// <summary>The type of what comes back; null for nothing.</summary>
        private static Type Result(Type declared)
        {
            if (declared == typeof(void))
            {
                return null;
            }
            for (Type type = declared; type != null; type = type.BaseType)
            {
                if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Task<>))
                {
                    return type.GetGenericArguments()[0];
                }
            }
            return typeof(Task).IsAssignableFrom(declared) ? null : declared;
        }

        private static MethodInfo Method(Type type, string name, bool signature)
        {
            for (Type level = type; level != null; level = level.BaseType)
            {
                MethodInfo found = null;
                foreach (MethodInfo one in level.GetMethods(Any))
                {
                    if ((signature ? one.ToString() : one.Name) != name)
                    {
                        continue;
                    }
                    if (found != null)
                    {
                        throw new LambdaValidationException(Several(level, name));
                    }
                    found = one;
                }
                if (found != null)
                {
                    return found;
                }
            }
            return null;
        }

        private static string Several(Type type, string name)
        {
            string candidates = "";
            foreach (MethodInfo one in type.GetMethods(Any))
            {
                if (one.Name == name || one.ToString() == name)
                {
                    candidates += "\n" + one;
                }
            }
            return "The method '" + name + "' in type '" + type.FullName + "' appears to have a number of overloads. To call this "
                + "method please specify a complete method signature. Possible candidates are:" + candidates + ".";
        }

        private static void Check(Type type, MethodInfo method)
        {
            string cannot = "The method '" + method + "' cannot be used as a Lambda Handler because it is ";
            if (method.IsAbstract)
            {
                throw new LambdaValidationException(cannot + "an abstract method. Handler methods cannot be abstract. "
                    + "Please specify a non-abstract handler method.");
            }
            if (method.IsGenericMethod)
            {
                throw new LambdaValidationException(cannot + "a generic method. Handler methods cannot be generic. "
                    + "Please specify a non-generic handler method.");
            }
            if (method.ReturnType == typeof(void) && method.IsDefined(typeof(AsyncStateMachineAttribute), false))
            {
                throw new LambdaValidationException(cannot + "an 'async void' method. Handler methods cannot be 'async void'. "
                    + "Please specify a method that is not 'async void'.");
            }
            ParameterInfo[] given = method.GetParameters();
            if (given.Length > 0 && given[given.Length - 1].IsDefined(typeof(ParamArrayAttribute), false))
            {
                throw new LambdaValidationException(cannot + "a 'params' method. Please specify a method that does not use 'params'.");
            }
            if (type.IsGenericType)
            {
                throw new LambdaValidationException("The type '" + type.FullName + "' cannot be used as a Lambda Handler type because "
                    + "it is generic. Handler methods cannot be located in generic types. Please specify a handler method in a "
                    + "non-generic type.");
            }
            if (!method.IsStatic && type.IsAbstract)
            {
                throw new LambdaValidationException("The instance method '" + method + "' cannot be used as a Lambda Handler because "
                    + "its type '" + type.FullName + "' is abstract. Please either use a static handler or specify a type that is "
                    + "not abstract.");
            }
        }
    }
}
