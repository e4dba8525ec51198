using System.Reflection;
using System.Reflection.Emit;

namespace HybridArchitectures.Tests.Architecture;

/// <summary>
/// Finds which namespaces of an assembly use which others. It reads signatures, fields and the instructions of all methods. Constants and
/// documentation do not count, because the compiler leaves no reference for them.
/// </summary>
sealed class NamespaceGraph
{
    const BindingFlags Everything = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static
        | BindingFlags.DeclaredOnly;

    static readonly Dictionary<short, OpCode> codes = typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(field => (OpCode)field.GetValue(null)!).ToDictionary(code => code.Value);

    readonly Assembly assembly;
    readonly Dictionary<string, SortedDictionary<string, string>> uses = [];

    public NamespaceGraph(Assembly assembly)
    {
        this.assembly = assembly;
        foreach (var type in assembly.GetTypes()) Read(type);
    }

    /// <summary>Pairs of namespaces that reach each other, as text with an example of each direct use.</summary>
    public IReadOnlyList<string> Cycles()
    {
        var reach = uses.Keys.ToDictionary(name => name, Reached);
        return [.. from pair in uses from used in pair.Value
                   where reach.TryGetValue(used.Key, out var back) && back.Contains(pair.Key)
                   orderby pair.Key, used.Key
                   select $"{pair.Key} -> {used.Key} ({used.Value})"];
    }

    HashSet<string> Reached(string start)
    {
        var reached = new HashSet<string>();
        var open = new Stack<string>([start]);
        while (open.TryPop(out string? name))
            foreach (string next in uses.GetValueOrDefault(name)?.Keys ?? Enumerable.Empty<string>())
                if (reached.Add(next)) open.Push(next);
        return reached;
    }

    void Read(Type type)
    {
        if (type.BaseType is { } super) Use(type, super);
        foreach (var one in type.GetInterfaces()) Use(type, one);
        foreach (var field in type.GetFields(Everything)) Use(type, field.FieldType);
        foreach (var method in type.GetMethods(Everything).Cast<MethodBase>().Concat(type.GetConstructors(Everything)))
        {
            if (method is MethodInfo { ReturnType: { } returned }) Use(type, returned);
            foreach (var parameter in method.GetParameters()) Use(type, parameter.ParameterType);
            if (method.GetMethodBody() is not { } body) continue;
            foreach (var local in body.LocalVariables) Use(type, local.LocalType);
            foreach (int token in Tokens(body.GetILAsByteArray()!)) Use(type, Resolve(type, method, token));
        }
    }

    static MemberInfo? Resolve(Type type, MethodBase method, int token)
    {
        try
        {
            return type.Module.ResolveMember(
                token, type.IsGenericType ? type.GetGenericArguments() : null, method.IsGenericMethod ? method.GetGenericArguments() : null);
        }
        catch (ArgumentException)
        {
            return null;      // a signature of an indirect call
        }
    }

    void Use(Type user, MemberInfo? used)
    {
        if (used is null) return;
        if (used is MethodInfo { IsGenericMethod: true } generic) foreach (var argument in generic.GetGenericArguments()) Use(user, argument);
        var type = used as Type ?? used.DeclaringType;
        if (type is null) return;
        if (type.HasElementType) Use(user, type.GetElementType());
        if (type.IsGenericType) foreach (var argument in type.GetGenericArguments()) Use(user, argument);
        if (type.Assembly != assembly || type.Namespace is not { } to || user.Namespace is not { } from || from == to) return;
        if (!uses.TryGetValue(from, out var all)) uses[from] = all = [];
        all.TryAdd(to, $"{user.Name} uses {type.Name}");
    }

    static IEnumerable<int> Tokens(byte[] code)
    {
        for (int i = 0; i < code.Length;)
        {
            short value = code[i] == 0xfe ? unchecked((short)(0xfe00 | code[i + 1])) : code[i];
            i += code[i] == 0xfe ? 2 : 1;
            var operand = codes[value].OperandType;
            if (operand is OperandType.InlineMethod or OperandType.InlineField or OperandType.InlineType or OperandType.InlineTok)
                yield return BitConverter.ToInt32(code, i);
            i += operand switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + 4 * BitConverter.ToInt32(code, i),
                _ => 4,
            };
        }
    }
}
