using System.Reflection;
using System.Runtime.CompilerServices;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Reports.Page;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Reports.Tests.Arguments;

/// <summary>Contains the public types of all packages and the members that tests of arguments call.</summary>
static class PublicMembers
{
    const BindingFlags Declared = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    public static IReadOnlyList<Type> Types { get; } =
    [
        .. new[] { typeof(RmsNorm), typeof(HybridDesign), typeof(Trainer), typeof(EvaluationTask), typeof(RunReport) }
            .SelectMany(type => type.Assembly.GetExportedTypes()),
    ];

    /// <summary>Returns methods, and constructors of types other than records, with each parameter that is a list of references.</summary>
    public static IEnumerable<(MethodBase Member, ParameterInfo List)> ListParameters() =>
        from type in Types
        from member in type.GetMembers(Declared).OfType<MethodBase>()
        where !member.IsAbstract && (!member.IsSpecialName || (member.IsConstructor && !IsRecord(type)))
        from parameter in member.GetParameters()
        where HoldsReferences(parameter.ParameterType)
        select (member, parameter);

    /// <summary>Returns the properties of an enumeration type that can be set.</summary>
    public static IEnumerable<PropertyInfo> EnumProperties() =>
        from type in Types
        from property in type.GetProperties(Declared)
        where EnumOf(property).IsEnum && property.SetMethod is { IsPublic: true, IsStatic: false }
        select property;

    public static Type EnumOf(PropertyInfo property) => Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;

    public static string NameOf(MethodBase member, ParameterInfo parameter) => $"{Short(member)}({parameter.Name})";

    static string Short(MethodBase member) => $"{member.DeclaringType!.Name.Split('`')[0]}.{(member.IsConstructor ? "new" : member.Name)}";

    static bool IsRecord(Type type) => type.GetMethod("<Clone>$") is not null;

    static bool HoldsReferences(Type list)
    {
        if (list == typeof(string)) return false;
        var item = list.IsArray ? list.GetElementType() : list.GetInterfaces().Append(list)
            .FirstOrDefault(type => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IEnumerable<>))?.GetGenericArguments()[0];
        return item is not null && HasReference(item);
    }

    static bool HasReference(Type item) => item.IsGenericParameter ? false : !item.IsValueType
        || (item.IsGenericType && (typeof(ITuple).IsAssignableFrom(item) || item.GetGenericTypeDefinition() == typeof(KeyValuePair<,>))
            && item.GetGenericArguments().Any(HasReference));
}
