namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.IO;
    using System.Reflection;

    /// <summary>What is wrong with the function before any of its code ran; the text is AWS's.</summary>
    internal sealed class LambdaValidationException : Exception
    {
        internal LambdaValidationException(string message, Exception cause = null)
            : base(message, cause)
        {
        }
    }

    /// <summary>Finds the assemblies of the function's package, and gives AWS's logger to the one that has it.</summary>
    internal static class FunctionLoader
    {
        private const string Core = "Amazon.Lambda.Core";

        private static string root;
        private static Log log;

        /// <summary>Looks in the folder `root` from now on.</summary>
        internal static void Begin(string folder, Log functionLog)
        {
            root = folder;
            log = functionLog;
            AppDomain.CurrentDomain.AssemblyResolve += (_, asked) => FromPackage(new AssemblyName(asked.Name).Name);
            AppDomain.CurrentDomain.AssemblyLoad += (_, loaded) => Prepare(loaded.LoadedAssembly);
        }

        /// <summary>The program of that name, null when the assembly is a library. Throws LambdaValidationException.</summary>
        internal static Assembly Executable(string name)
        {
            string file = name.EndsWith(".dll", StringComparison.Ordinal) || name.EndsWith(".exe", StringComparison.Ordinal)
                ? name.Substring(0, name.Length - 4) : name;
            if (file.Length == 0 || file.IndexOf('/') >= 0)
            {
                return null;
            }
            Assembly found = FromPackage(file);
            return found?.EntryPoint == null ? null : found;
        }

        /// <summary>The function's assembly. Throws LambdaValidationException.</summary>
        internal static Assembly Load(string name)
        {
            Assembly found;
            try
            {
                found = FromPackage(name);
            }
            catch (Exception error)
            {
                throw new LambdaValidationException("Unable to load assembly '" + name + "'.", error);
            }
            if (found == null)
            {
                throw new LambdaValidationException("Could not find the specified handler assembly with the file name '" + name
                    + ", Culture=neutral, PublicKeyToken=null'. The assembly should be located in the root of your uploaded .zip file.");
            }
            return found;
        }

        /// <summary>
        /// A class of the function's, null when it is not there. Throws LambdaValidationException when what it is built
        /// on is not there.
        /// </summary>
        internal static Type Class(Assembly assembly, string name)
        {
            try
            {
                return assembly.GetType(name) ?? Missing(assembly, name);
            }
            catch (Exception error) when (error is FileNotFoundException || error is FileLoadException || error is TypeLoadException)
            {
                throw new LambdaValidationException("Unable to load type '" + name + "' from assembly '"
                    + assembly.GetName().Name + "': " + error.Message + Hint(assembly), error);
            }
        }

        /// <summary>.NET says what a class lacks only to those who ask for an exception; null when there is no such class.</summary>
        private static Type Missing(Assembly assembly, string name)
        {
            try
            {
                return assembly.GetType(name, true);
            }
            catch (TypeLoadException)
            {
                return null;
            }
        }

        private static string Hint(Assembly assembly)
        {
            if (Type.GetType("Mono.Runtime") == null)
            {
                return "";
            }
            foreach (AssemblyName needed in assembly.GetReferencedAssemblies())
            {
                if (needed.Name == "System.Runtime" && needed.Version.Major > 4)
                {
                    return " (it was compiled for .NET " + needed.Version.Major + ", and Mono runs it, which takes assemblies for "
                        + ".NET Framework 4 and .NET Standard 2.0: compile it for one of them, or install .NET)";
                }
                if (needed.Name == "netstandard")
                {
                    return " (it was compiled for .NET Standard, which Mono takes where it is installed whole: "
                        + "apt-get install mono-devel)";
                }
            }
            return "";
        }

        private static Assembly FromPackage(string name)
        {
            foreach (string suffix in new[] { ".dll", ".exe" })
            {
                string file = Path.Combine(root, name + suffix);
                if (File.Exists(file))
                {
                    return Assembly.LoadFrom(file);
                }
            }
            return null;
        }

        /// <summary>AWS's static logger calls what is in private fields of its class; they are set from outside on Lambda too.</summary>
        private static void Prepare(Assembly loaded)
        {
            if (loaded.GetName().Name != Core)
            {
                return;
            }
            Type logger = loaded.GetType(Core + ".LambdaLogger");
            if (logger == null)
            {
                return;
            }
            Action<string> plain = message => log.Write(null, null, message);
            Action<string, string, object[]> levels = (level, message, args) => log.Write(level, null, message, args);
            Action<string, Exception, string, object[]> exceptions = (level, error, message, args) => log.Write(level, error, message, args);
            foreach (KeyValuePair<string, object> one in new Dictionary<string, object>
            {
                ["_loggingAction"] = plain,
                ["_loggingWithLevelAction"] = levels,
                ["_loggingWithLevelAndExceptionAction"] = exceptions,
            })
            {
                FieldInfo field = logger.GetField(one.Key, BindingFlags.NonPublic | BindingFlags.Static);
                if (field != null && field.FieldType.IsInstanceOfType(one.Value))
                {
                    field.SetValue(null, one.Value);
                }
            }
        }
    }
}
